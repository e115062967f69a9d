"""P1 and P2: the calls of the command are stopped by a tracer, and carried out as in the F modes.

The engine is in every process here, too (``inprocess``); but a thread gets into it by ptrace(2),
and not by a signal, so SIGSYS is the command's own. P1 stops only the calls that matter, by a
seccomp filter; P2 stops all of them, for kernels without such filters. Where the user names a
PRoot, or there is no engine for the machine, they are run by PRoot (``proot``).
"""

from __future__ import annotations

from udocker.engine import inprocess, proot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.host import Host, Support
    from udocker.model.launch import Launch
    from udocker.model.run import RunSpec

MODES = ("P1", "P2")
FEATURES = inprocess.FEATURES


def probe(host: Host, mode: str) -> Support:
    """The kernel must let a process trace its children."""
    if is_by_proot(host):
        return proot.probe(host, mode)
    return proot.can_trace(host, mode)


def launch(spec: RunSpec, host: Host, mode: str) -> Launch:
    """The tracer takes udocker's place, the command is its child. Raises UnsupportedFeature."""
    if is_by_proot(host):
        return proot.launch(spec, host, mode)
    return inprocess.launch(spec, host, mode)


def is_by_proot(host: Host) -> bool:
    """Whether another program than ours traces here."""
    return "proot" in host.chosen or not host.inprocess
