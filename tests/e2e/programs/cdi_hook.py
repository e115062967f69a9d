"""In the place of NVIDIA's hook program, for specs of ours: what each hook is documented to do.

Of the runtime it gets the state of the container, by which it finds the root. What it was told is
a line of the file beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

state = json.load(sys.stdin)
with open(os.path.join(state["bundle"], "config.json")) as stream:
    root = os.path.join(state["bundle"], json.load(stream)["root"]["path"])
with open(f"{os.path.abspath(__file__)}.told", "a") as stream:
    stream.write(f"{' '.join(sys.argv[1:])}\n")
_, verb, *words = sys.argv[1:]
values = [w for w in words if not w.startswith("--")]
if verb == "create-symlinks":
    for value in values:
        target, _, place = value.partition("::")
        os.makedirs(os.path.dirname(root + place), exist_ok=True)
        if not os.path.lexists(root + place):
            os.symlink(target, root + place)
elif verb == "update-ldcache":
    os.makedirs(f"{root}/etc", exist_ok=True)
    subprocess.run(["/sbin/ldconfig", "-r", root, *values], check=True)
elif verb not in ("enable-cuda-compat", "disable-device-node-modification"):
    sys.exit(f"no hook of that name: {verb}")
