"""What this host is and offers: facts, not decisions."""

from __future__ import annotations

from udocker.model.value import value


@value
class Support:
    """Whether something works here; if not, one line why and one line what to try."""

    reason: str = ""
    hint: str = ""

    @property
    def ok(self) -> bool:
        """No reason against it."""
        return not self.reason


@value
class Host:
    """Facts about the machine and the user, gathered once by ``udocker.host``."""

    architecture: str  # as uname -m prints it
    kernel: tuple[int, int]
    boot_id: str
    hostname: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    username: str
    home: str
    max_user_namespaces: int | None  # None: the kernel does not say
    apparmor_restricts_userns: bool
    ptrace_scope: int
    seccomp: bool
    confinement: str  # what this process may not do here, and others of the user perhaps may
    cgroup: str  # v1, v2, hybrid or none
    shared: tuple[str, ...] = ()  # of /dev/shm and /dev/mqueue, those that are here
    inprocess: str = ""  # the in-process engine of this installation, if it has one
    chosen: tuple[str, ...] = ()  # those of the programs that the user has named
    programs: tuple[tuple[str, str], ...] = ()  # name -> absolute path; also libfakechroot

    def program(self, name: str) -> str | None:
        """The absolute path of ``runc``, ``crun``, ``proot``…, or None."""
        return dict(self.programs).get(name)
