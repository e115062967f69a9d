"""tools/slurm start DIRECTORY [NODES [UDOCKER [TREE]]] | stop DIRECTORY
            in DIRECTORY [-n HOST] COMMAND…

A throw-away Slurm: each of its hosts (login1, node1, …) is a set of namespaces, with its own name,
address, processes, /tmp, /run and /dev/shm; all else is this machine's and common to them.
``start`` and ``stop`` are root's. ``in`` is anybody's: the command runs on that host, login1 if
none is named, as whoever asks, in the current directory and environment. UDOCKER runs
containers for ``srun --container``. With TREE, that of another Debian, the hosts have its programs
and so its Slurm, and users name images in place of bundles; besides Slurm it needs Python.

Needs Debian's slurmctld, slurmd, slurm-client, slurm-wlm-basic-plugins, munge, iproute2, and for
PMIx libpmix-dev; for the commands of PBS slurm-wlm-torque.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from slurm_rig import cluster, gate

_NODES = 3


def main(words: list[str]) -> int:
    try:
        if words[:1] == ["start"] and 2 <= len(words) <= 5:
            nodes = int(words[2]) if words[2:] else _NODES
            cluster.start(_directory(words[1]), nodes, *words[3:])
            return 0
        if words[:1] == ["stop"] and len(words) == 2:
            cluster.stop(_directory(words[1]))
            return 0
        if words[:1] == ["in"] and len(words) > 2:
            host, command = "login1", words[2:]
            if command[0] == "-n":
                host, command = command[1], command[2:]
            return gate.ask(_directory(words[1]), host, command)
    except (OSError, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
        print(f"slurm: {error}", file=sys.stderr)
        return 1
    print((__doc__ or "").strip(), file=sys.stderr)
    return 2


def _directory(text: str) -> Path:
    return Path(text).absolute()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
