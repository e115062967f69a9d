"""Programs for other machines than this one: who starts them."""

from __future__ import annotations

from udocker import elf, host
from udocker.errors import NotExecutable
from udocker.model.features import BY_EMULATOR, BY_KERNEL, OTHER_MACHINES
from udocker.model.oci import Platform
from udocker.model.value import value
from udocker.spec import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.ops.session import Session


@value
class Emulation:
    """How programs for ``machine`` (uname -m) run here.

    ``by_kernel``: the kernel starts an emulator for them in any root. ``emulators`` are for the
    engines that start programs themselves, as RunSpec has them.
    """

    machine: str
    by_kernel: bool
    emulators: tuple[tuple[int, str], ...]

    @property
    def features(self) -> frozenset[str]:
        """What a mode must have."""
        if self.by_kernel and self.emulators:
            return frozenset((OTHER_MACHINES,))
        return frozenset((BY_KERNEL if self.by_kernel else BY_EMULATOR,))


def emulation(session: Session, program: str, head: bytes) -> Emulation:
    """For a program that begins with ``head`` and is for another machine.

    Raises NotExecutable when nothing here runs it.
    """
    number, name = command.machine(head) or (0, "")
    candidates = host.emulators(name, session.environ)
    static = next((place for place in candidates if _is_static(place)), "")
    by_kernel = host.is_started_by_kernel(head)
    if not static and not by_kernel:
        here = session.host.architecture
        other = f" ({candidates[0]} is here, and not static)" if candidates else ""
        raise NotExecutable(
            f"cannot execute {program}: it is made for {name}, this host is {here}, and there is "
            f"no static qemu-{host.qemu_name(name)} in PATH{other}",
            hint="install the package qemu-user-static, or pull the image for this host: "
            f"--platform={Platform.of('linux', here)}",
        )
    return Emulation(name, by_kernel, ((number, static),) if static else ())


def _is_static(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            found = elf.read(stream.read(elf.HEAD))
    except OSError:
        return False
    return found is not None and not found.interpreter
