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
    max_user_namespaces: int | None  # None: the kernel has none; -1: it knows no limit
    apparmor_restricts_userns: bool
    ptrace_scope: int
    seccomp: bool  # a filter can be installed
    confinement: str  # what this process may not do here, and others of the user perhaps may
    cgroup: str  # v1, v2, hybrid or none
    shared: tuple[str, ...] = ()  # of /dev/shm and /dev/mqueue, those that are here
    inprocess: str = ""  # the in-process engine of this installation, if it has one
    chosen: tuple[str, ...] = ()  # those of the programs that the user has named
    programs: tuple[tuple[str, str], ...] = ()  # name -> absolute path; also libfakechroot
    userns_for_root_only: bool = False  # kernel.unprivileged_userns_clone, of Debian, is 0
    forbids_filters: bool = False  # the kernel has seccomp filters, but none may be installed
    no_new_privileges: bool = False  # set-user-ID programs do nothing special
    sandbox: str = ""  # the program that stands for a kernel here: gVisor

    @property
    def is_filtered(self) -> bool:
        """Whether a seccomp filter is in force already: this is a container, or the like."""
        return "Seccomp: 2" in self.confinement

    def program(self, name: str) -> str | None:
        """The absolute path of ``runc``, ``crun``, ``proot``…, or None."""
        return dict(self.programs).get(name)
