"""``python -m builders.launcher HOW LAUNCH``: carries out a Launch, given as its repr.

HOW is ``execute``, ``clean=FILE`` (FILE gets a line after the run), ``job=FILE`` (the same in a
batch job, and every signal is another user's) or ``capture=SECONDS`` (the output is printed as a
repr). What fails is printed as a user would be told.
"""

from __future__ import annotations

import os
import sys

from udocker.engine.capture import capture
from udocker.engine.execute import execute
from udocker.errors import UdockerError
from udocker.model import launch as steps
from udocker.model import run


def main(how: str, launch: steps.Launch) -> int:
    way, _, value = how.partition("=")
    if way == "execute":
        return execute(launch)
    if way == "clean":
        return execute(launch, clean=lambda: _note(value))
    if way == "job":
        os.getuid = lambda: -1
        return execute(launch, clean=lambda: _note(value), in_job=True)
    code, output = capture(launch, float(value))
    print(repr(output))
    return code


def _note(path: str) -> None:
    with open(path, "a", encoding="ascii") as stream:
        stream.write("cleaned\n")


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1], eval(sys.argv[2], {**vars(run), **vars(steps)})))
    except UdockerError as error:
        sys.stderr.write(f"{type(error).__name__}: {error.message}\nhint: {error.hint}\n")
        raise SystemExit(error.exit_code) from None
