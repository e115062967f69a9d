"""tools/bench [PART...]: measure udocker beside other tools.

The parts are start, pull and memory, which are the default, modes, engines, unpack, containers,
living, console, scene, peers and batch.
`pull` also pulls once more: after a kill at half of the bytes, and what is here already.
`modes` measures the start of `true` in every mode that works here, and what `auto` adds.
`engines` measures modes beside each other, in an image that mmdebstrap makes the first time.
`unpack` measures unpacking and fetching of seven layers, and of 300,000 small files, in images made
so too; there ratios are to the first row, tar's. `containers` measures making and removing of
containers, a thousand of them, and twenty pulls of one image. `living` measures lists of a thousand
containers and of 200 images, exec beside run, and 200 containers started and stopped at once.
`console` asks a web server in Java in several modes, with wrk; tools/images --console makes it.
`scene` has a module for DEEPaaS answer and train, beside the same program outside of a container;
tools/images --scene makes it.
`peers` tries other programs on hosts that forbid something, and measures them beside udocker: those
of podman, proot, proot-distro, ch-run, apptainer and udocker-1.3 (a link) that are in PATH.
`batch` measures in jobs of a Slurm that tools/slurm has started with five nodes or more: messages
of two ranks in containers and on the host, 64 ranks on one node, starts beside many images, and
what staging fetches.

  --udocker=PATH   the command to measure (default: .venv/bin/udocker of this checkout)
  --images=DIR     what tools/images made (default: /var/tmp/udocker-images/current)
  --scratch=DIR    where stores are made: a tmpfs or a loop filesystem (default: /dev/shm)
  --out=DIR        where text, JSON and a chart go (default: build/bench)
  --rounds=N       counted rounds after one to warm up (default: 15 for start and console, else 5)
  --modes=M,...    of engines: the first is what the others are divided by (default:
                   N1,F3,F2,P1,proot); proot, or proot=PATH, is P1 by that program, bwrap is
                   bubblewrap, and +v behind a mode adds volumes; of console and
                   scene: N1,F3,P1
  --only=WORD,...  of engines: the workloads that have one of the words in their names; of unpack:
                   gzip, zstd, small, fetch, slow, layers; of batch: messages, ranks,
                   ready, stage; of living: lists, exec, crowd; of peers: hosts, costs
  --slurm=DIR      of batch: the cluster. --scratch must be a directory that all its hosts see (not
                   /tmp or /dev/shm), as must the command

Containers are for ordinary users: root measures what root gets, and is refused.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

from bencher import parts
from bencher.options import Options


def main(arguments: list[str]) -> int:
    given: dict[str, Any] = {}
    wanted = []
    kinds = {"rounds": int, "images": Path, "out": Path, "slurm": Path}
    names = {field.name for field in dataclasses.fields(Options)}
    for argument in arguments:
        name, equals, text = argument.lstrip("-").partition("=")
        is_number = name != "rounds" or text.isdecimal()
        if argument.startswith("--") and equals and name in names and is_number:
            given[name] = kinds.get(name, str)(text)
        elif argument in (*parts.DEFAULT, *parts.APART):
            wanted.append(argument)
        else:
            print((__doc__ or "").strip(), file=sys.stderr)
            return 0 if argument == "--help" else 2
    if os.getuid() == 0:
        print("bench: run it as an ordinary user", file=sys.stderr)
        return 1
    options = Options(**given)
    for name in wanted:
        if name in parts.APART:
            parts.APART[name](options)
    together = [name for name in wanted if name in parts.DEFAULT]
    if together or not wanted:
        parts.default(options, together or parts.DEFAULT)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
