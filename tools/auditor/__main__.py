"""``tools/audit-paths [--mode=F2] IMAGE COMMAND...``, or ``tools/audit-paths -- COMMAND LINE``.

Runs the command in a container, or any command line that runs one in an F mode, and lists each path
of the host that its processes reached outside of the container's root, its volumes and the engine's
own files: the program, the system call, the path. Exit code 0 when there is none, 1 when there are,
125 when no container was run; the container's own goes to stderr.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from auditor.tracer import Tracer


def main() -> int:
    words, output = _command_line()
    tracer = Tracer()
    code = tracer.run(words)
    lines = [f"{f.program}\t{f.call}\t{f.path}\n" for f in sorted(tracer.findings)]
    if output is None:
        sys.stdout.writelines(lines)
    else:
        output.write_text("".join(lines), errors="surrogateescape")
    summary = f"{len(lines)} outside, of {tracer.calls} calls; exit code {code}"
    sys.stderr.write(f"audit-paths: {summary}\n")
    if tracer.calls == 0:
        return 125
    return 1 if lines else 0


def _command_line() -> tuple[list[str], Path | None]:
    parser = argparse.ArgumentParser(
        prog="audit-paths", description="Lists what a container reaches of the host."
    )
    parser.add_argument("--mode", default="F2", help="the execution mode (F2)")
    parser.add_argument("--output", type=Path, help="a file for the list (standard output)")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="IMAGE COMMAND...")
    given = parser.parse_args()
    if not given.words:
        parser.error("nothing to run")
    if given.words[0] == "--":
        return given.words[1:], given.output
    run = [sys.executable, "-m", "udocker", "run", "-q", "--rm", f"--execmode={given.mode}"]
    return [*run, *given.words], given.output


if __name__ == "__main__":
    raise SystemExit(main())
