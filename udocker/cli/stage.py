"""stage."""

from __future__ import annotations

import os

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, LIST, TEXT, Option, Syntax
from udocker.errors import UsageError
from udocker.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed

_SCRATCH = "node-local"


def _stage(context: Context, parsed: Parsed) -> int:
    from udocker.ops import stage

    session = context.session
    parent = parsed.text("to") or ""
    if parent == _SCRATCH:
        parent = ""
    elif parent and not os.path.isabs(parent):
        raise UsageError(f"--to {parent!r}: an absolute path, of each node", hint="--to node-local")
    if parsed.flag("remove"):
        stage.remove(session)
    elif parsed.flag("remove-here"):
        stage.remove_here(session)
    elif parsed.text("receive"):
        stage.discard(parsed.list("discard"))
        stage.receive(session, parsed.text("receive") or "", parsed.text("digest") or "", parent)
    elif not parsed.words:
        raise UsageError("stage: no image is named", hint="udocker stage IMAGE…")
    else:
        count = stage.stage(session, parsed.words, parent)
        session.report.info(f"{counted(len(parsed.words), 'images')} on {counted(count, 'nodes')}")
    return 0


COMMANDS = (
    Command(
        "stage",
        Syntax(
            usage="[OPTIONS] IMAGE…",
            summary="Bring images to every node of a batch job, once, before its steps run them.",
            options=(
                Option(("--to",), TEXT, "a directory of each node (default: node-local)", "DIR"),
                Option(("--remove",), FLAG, "remove what was brought, on all nodes"),
                Option(("--remove-here",), FLAG, "... on this one", hidden=True),
                Option(("--receive",), TEXT, "what each node does", "FILE", hidden=True),
                Option(("--discard",), LIST, "before", "FILE", hidden=True),
                Option(("--digest",), TEXT, "of that file", "DIGEST", hidden=True),
            ),
            at_most=None,
            details=(
                "In the script of a Slurm job. The images are fetched once, sent by sbcast (or\n"
                "srun) as one file, checked on each node, and unpacked into the job's scratch\n"
                "space (SLURM_TMPDIR, TMPDIR or /tmp); `udocker run` in the job finds them there.\n"
                "All nodes have the same image, also when its tag moves meanwhile. In jobs of\n"
                "other systems it is this node only."
            ),
        ),
        _stage,
    ),
)
