"""udocker for Python programs: ``udocker.Client``.

What is not a run is done in this process, by the functions that the command line calls too.
A run is a process of its own, because its command takes that process's place: so any program may
begin one, also one with threads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import IO, Any, Optional, Union

from udocker.errors import UdockerError, UsageError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

    from udocker.model.container import Container
    from udocker.model.oci import Platform
    from udocker.model.reference import Reference
    from udocker.ops.images import ListedImage
    from udocker.ops.session import Session
    from udocker.report import Reporter

Input = Union[bytes, str, None]
_LAST_LINES = 3


@value
class Image:
    """An image of the store; ``size`` in bytes, compressed."""

    name: str
    id: str  # sha256:…, of its configuration
    manifest: str  # sha256:…
    platform: str
    pulled: str  # ISO 8601, UTC
    size: int


@value
class Finished:
    """A command that has ended. ``code``: as in a shell, 128+N for signal N."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """What it printed, as UTF-8 text."""
        return self.stdout.decode("utf-8", "replace")


class CommandFailed(UdockerError):
    """A command of ``Client.run`` ended with another exit code than 0, or was not begun."""

    def __init__(self, finished: Finished) -> None:
        lines = finished.stderr.decode("utf-8", "replace").strip().splitlines()
        said = f": {' / '.join(lines[-_LAST_LINES:])}" if lines else ""
        super().__init__(f"the command ended with exit code {finished.code}{said}")
        self.finished = finished


class Client:
    """A store, with the settings of the user's files and environment.

    ``store``: a directory, in place of the one that the settings name. ``config``: the only file
    of settings to read. ``environ``: in place of this process's environment. ``report`` hears of
    progress and of warnings; by default nobody does. Methods raise UdockerError.
    """

    def __init__(
        self,
        store: Union[str, os.PathLike[str], None] = None,
        *,
        config: Union[str, os.PathLike[str], None] = None,
        environ: Optional[Mapping[str, str]] = None,
        report: Optional[Reporter] = None,
    ) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        self._general = []
        overrides: dict[str, Any] = {}
        if store is not None:
            overrides["topdir"] = os.path.abspath(os.fspath(store))
            self._general += ["--repo", overrides["topdir"]]
        if config is not None:
            self._general += ["--config", os.path.abspath(os.fspath(config))]
        self._session = self._begin(overrides, config, report)

    def _begin(
        self,
        overrides: Mapping[str, Any],
        config: Union[str, os.PathLike[str], None],
        report: Optional[Reporter],
    ) -> Session:
        from udocker.ops.session import begin
        from udocker.report import QuietReporter

        file = None if config is None else os.fspath(config)
        return begin(self._environ, overrides, file, lambda _: report or QuietReporter())

    @property
    def store(self) -> str:
        """The directory of the store."""
        return self._session.store.topdir

    # Images

    def pull(self, name: str, *, platform: str = "") -> Image:
        """Fetch an image from its registry, or bring it from a file: ``oci-archive:FILE``."""
        from udocker.model.place import Place
        from udocker.ops.load import load_one
        from udocker.ops.pull import pull

        place = Place.parse(name)
        if place is not None:
            return self.image(load_one(self._session, place, _platform(platform)).spelled)
        reference = self._reference(name)
        pull(self._session, reference, _platform(platform), whole=True)
        return self.image(reference.spelled)

    def images(self) -> list[Image]:
        """All images of the store, by name."""
        from udocker.ops.images import list_images

        return [_image(listed) for listed in list_images(self._session)]

    def image(self, name: str) -> Image:
        """The image that a name or the beginning of an id means. Raises ImageNotFound."""
        from udocker.ops.images import describe_image

        return _image(describe_image(self._session, name))

    def tag(self, name: str, new_name: str) -> Image:
        """Give an image another name."""
        from udocker.ops.tag import tag

        return self.image(tag(self._session, name, new_name).reference)

    def remove_image(self, name: str, *, force: bool = False) -> None:
        """Forget a name, and remove what only it needed. ``force``: it need not be there."""
        from udocker.ops.images import remove_image

        remove_image(self._session, name, force)

    def load(self, path: Union[str, os.PathLike[str]]) -> list[Image]:
        """Bring all images of an archive, or of an OCI layout, into the store."""
        from udocker.ops.load import load

        records = load(self._session, os.fspath(path))
        return [self.image(record.reference) for record in records]

    def save(
        self,
        names: Union[str, Sequence[str]],
        path: Union[str, os.PathLike[str]],
        *,
        form: str = "docker-archive",
    ) -> None:
        """Write images to an archive: docker-archive, oci-archive or oci-dir."""
        from udocker.ops.save import FORMATS, save

        if form not in FORMATS:
            raise UsageError(f"no such form: {form!r}", hint=", ".join(FORMATS))
        save(self._session, _list(names), os.fspath(path), form)

    def push(self, name: str, target: str = "") -> str:
        """Send an image to a registry, as ``target`` or by its own name; its digest there."""
        from udocker.ops.push import push

        return str(push(self._session, name, target or None).digest)

    # Containers

    def create(
        self, image: str, *, name: Optional[str] = None, pull: str = "missing", platform: str = ""
    ) -> Container:
        """Make a container of an image, which is pulled if it is not there."""
        from udocker.ops.create import create

        return create(
            self._session,
            self._reference(image),
            name=name,
            pull=pull,
            platform=_platform(platform),
        )

    def containers(self) -> list[Container]:
        """All containers of the store."""
        return self._session.store.containers.sound()

    def container(self, name: str) -> Container:
        """The container of a name or the beginning of an id. Raises ContainerNotFound."""
        return self._session.store.containers.get(name)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a container and what it wrote. ``force``: also one that is in use."""
        from udocker.ops.containers import remove

        remove(self._session, name, force)

    def diff(self, name: str) -> list[tuple[str, str]]:
        """What a container changed of its image: A, C or D, and the path."""
        from udocker.ops.export import diff

        return diff(self._session, name)

    def commit(self, name: str, image: str) -> Image:
        """Make an image of a container and of what it changed."""
        from udocker.ops.commit import commit

        return self.image(commit(self._session, name, image).reference)

    def export(self, name: str, path: Union[str, os.PathLike[str]]) -> None:
        """Write a container's files as a tar archive."""
        from udocker.ops.export import export

        export(self._session, name, os.fspath(path))

    # Runs

    def run(
        self,
        target: str,
        *command: str,
        input: Input = None,
        timeout: Optional[float] = None,
        check: bool = True,
        **options: Any,
    ) -> Finished:
        """Run a command in a new container of an image, or in one that is there; wait for it.

        ``input`` is what it reads; ``timeout`` in seconds, then it is ended. ``options`` are those
        of ``udocker run``, with _ for -: ``volume=["/data:/data:ro"]``, ``env={"A": "1"}``,
        ``rm=True``, ``execmode="F3"``. Raises CommandFailed where ``check``, and TimeoutError.
        """
        import subprocess

        process = self.start(target, *command, input=input is not None, **options)
        data = input.encode() if isinstance(input, str) else input
        try:
            out, errors = process.communicate(data, timeout)
        except subprocess.TimeoutExpired:
            process.terminate()
            _end(process)
            raise TimeoutError(f"{target}: the command took more than {timeout} seconds") from None
        except BaseException:
            process.terminate()
            _end(process)
            raise
        finished = Finished(_code(process.returncode), out, errors)
        if check and finished.code != 0:
            raise CommandFailed(finished)
        return finished

    def start(
        self,
        target: str,
        *command: str,
        input: bool = False,
        stdout: Union[int, IO[Any], None] = -1,
        stderr: Union[int, IO[Any], None] = -1,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """As ``run``, but do not wait. Its streams are pipes; ``stdout`` and ``stderr`` as those of
        ``subprocess.Popen`` otherwise. Without ``input`` it reads nothing."""
        import subprocess

        from udocker.ops import program

        words = [*self._general, "--quiet", "run", *_words(options), target, *command]
        return subprocess.Popen(
            [*program.words(), *words],
            stdin=subprocess.PIPE if input else subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=self._environ,
        )

    def _reference(self, name: str) -> Reference:
        from udocker.model.reference import Reference

        return Reference.parse(name, self._session.config.registry)


def _image(listed: ListedImage) -> Image:
    record = listed.record
    return Image(
        listed.name,
        str(record.config),
        str(record.manifest),
        record.platform,
        record.created,
        listed.size,
    )


def _platform(text: str) -> Optional[Platform]:
    from udocker.model.oci import Platform

    return Platform.parse(text) if text else None


def _list(texts: Union[str, Sequence[str]]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def _words(options: Mapping[str, Any]) -> list[str]:
    """Options of the command line: True is a flag, a mapping or a list an option many times."""
    words: list[str] = []
    for name, given in options.items():
        option = f"--{name.replace('_', '-')}"
        if given is True:
            words.append(option)
        elif isinstance(given, Mapping):
            words += [f"{option}={key}={text}" for key, text in given.items()]
        elif isinstance(given, (list, tuple)):
            words += [f"{option}={text}" for text in given]
        elif given is not None and given is not False:
            words.append(f"{option}={given}")
    return words


def _end(process: subprocess.Popen[bytes], seconds: float = 10.0) -> None:
    """After SIGTERM: wait, and be sure that it ends."""
    import subprocess

    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _code(status: int) -> int:
    return 128 - status if status < 0 else status
