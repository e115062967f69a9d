"""``fuzz TARGET SECONDS``: run a target, and keep what it found; ``fuzz`` alone lists them."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import fuzzer


def main(words: list[str]) -> int:
    if len(words) != 2 or words[0] not in fuzzer.TARGETS or not words[1].isdigit():
        print(f"usage: fuzz TARGET SECONDS; a target is one of {', '.join(fuzzer.TARGETS)}")
        return 2
    target, seconds = words
    with tempfile.TemporaryDirectory() as name:
        program, folder = Path(name) / target, Path(name) / "inputs"
        fuzzer.build(target, program, Path(name) / "objects")
        before = fuzzer.unpack(target, folder)
        try:
            said = fuzzer.run(program, folder, f"-max_total_time={seconds}")
            after = fuzzer.keep(target, program, folder)
        except fuzzer.CrashError as error:
            print(error)
            return 1
    print(*(line for line in said.splitlines() if line.startswith("Done ")), sep="\n")
    print(f"corpus of {target}: {before} inputs before, {after} now")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
