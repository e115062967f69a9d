"""Everything that can go wrong in front of a user, as one tree.

UdockerError (125)
  UsageError (2)
    BadReference  ConfigError
  RegistryError
    NotFoundError  UnauthorizedError  ForbiddenError  RateLimitedError
    UnreachableError  ServerError  BadReplyError
  VerificationError                 bytes are not what their digest or size says
  NoMatchingPlatform
  UnpackError
    HostileArchiveError  ArchiveLimitError
  StoreError
    NoSpaceError  StoreUnwritableError
  ImageNotFound  ContainerNotFound  NameInUse  ContainerInUse  NotRunning  PortInUse
  DeviceError                       a GPU or a device that is not there or cannot be had
  HelperError                       a program that keeps logins
  NotLoggedIn (1)
  EngineError
    EngineUnavailable  UnsupportedFeature  EngineFailed
  NotExecutable (126)
  CommandNotFound (127)

A message is one line: what failed, and on what. A hint is one line: what to try. The number in
brackets is the exit code; classes without one have 125, "udocker itself failed", as Docker has.
"""

from __future__ import annotations


class UdockerError(Exception):
    """Something that the user is told in one line, with a hint when there is one."""

    exit_code = 125

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(UdockerError):
    """The command line is wrong."""

    exit_code = 2


class BadReference(UsageError):
    """A text that is not an image reference, a digest or a platform."""


class ConfigError(UsageError):
    """A configuration file or environment variable is wrong."""


class RegistryError(UdockerError):
    """A registry did not give what was asked for."""


class NotFoundError(RegistryError):
    """404, or a repository that this user may not see."""


class UnauthorizedError(RegistryError):
    """401: no credentials, or wrong ones."""


class ForbiddenError(RegistryError):
    """403: the registry knows the user and refuses."""


class RateLimitedError(RegistryError):
    """429: too many requests."""


class UnreachableError(RegistryError):
    """No connection: name, network, TLS, or a peer that speaks another protocol."""


class ServerError(RegistryError):
    """5xx that stayed after retries."""


class BadReplyError(RegistryError):
    """A reply that the protocol does not allow: HTML, truncated JSON, unknown media type."""


class VerificationError(UdockerError):
    """Bytes that are not what their digest or size promises."""


class NoMatchingPlatform(UdockerError):
    """An index holds no manifest for the platform that was asked for."""


class UnpackError(UdockerError):
    """A layer could not be unpacked."""


class HostileArchiveError(UnpackError):
    """An archive entry reaches out of the tree it belongs to."""


class ArchiveLimitError(UnpackError):
    """An archive is larger than the limits allow."""


class StoreError(UdockerError):
    """The store on disk cannot be used as asked."""


class NoSpaceError(StoreError):
    """The disk, the quota or the inodes are used up."""


class StoreUnwritableError(StoreError):
    """The store may not be written by this user."""


class ImageNotFound(UdockerError):
    """No such image in the store."""


class ContainerNotFound(UdockerError):
    """No such container in the store."""


class NameInUse(UdockerError):
    """The container name is taken."""


class ContainerInUse(UdockerError):
    """Something runs in the container."""


class NotRunning(UdockerError):
    """Nothing runs in the container, or nothing that can be reached from here."""


class PortInUse(UdockerError):
    """A port of the host's that was published, and that another program has."""


class DeviceError(UdockerError):
    """A GPU or a device that was asked for is not there, or cannot be had as asked."""


class HelperError(UdockerError):
    """A program that keeps logins for Docker is missing, fails, or does not answer."""


class NotLoggedIn(UdockerError):
    """There is no login to forget."""

    exit_code = 1


class EngineError(UdockerError):
    """An engine failed before the command could start."""


class EngineUnavailable(EngineError):
    """No engine, or not the one asked for, works on this host."""


class EngineFailed(EngineError):
    """An engine failed before the command could start, and in this process another may be tried."""


class UnsupportedFeature(EngineError):
    """The engine cannot do what the run asks for."""


class NotExecutable(UdockerError):
    """The command exists and cannot be executed."""

    exit_code = 126


class CommandNotFound(UdockerError):
    """The command does not exist in the container."""

    exit_code = 127
