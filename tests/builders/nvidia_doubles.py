"""A host with two GPUs that are none, whose driver counts the nodes that it can open."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from builders.drivers import DriverHost

if TYPE_CHECKING:
    from pathlib import Path

# cuInit answers with a bit for each node that can be opened, and is a device: /dev/null is.
_DOUBLE = """
extern int open(const char *, int, ...);
extern int close(int);
static int count(void) {
    static char path[] = "/dev/nvidia0";
    int found = 0;
    for (int number = 0; number < 4; number++) {
        path[11] = (char)('0' + number);
        int node = open(path, 02);
        char nothing[4];
        extern long read(int, void *, unsigned long);
        extern int isatty(int);
        extern long lseek(int, long, int);
        if (node >= 0 && lseek(node, 0, 2) == 0 && read(node, nothing, 4) == 0) {
            found |= 1 << number;
        }
        if (node >= 0) {
            close(node);
        }
    }
    return found;
}
int cuInit(unsigned flags) { return flags == 0 ? count() : -1; }
int nvmlInit_v2(void) { return 0; }
"""


def two_gpus(top: Path, version: str) -> DriverHost:
    """Their nodes are links to /dev/null."""
    made = DriverHost(top)
    folder = made.path(f"usr/lib64/libcuda.so.{version}").parent
    for soname in ("libcuda.so.1", "libnvidia-ml.so.1"):
        place = folder / f"{soname[: -len('.1')]}.{version}"
        words = ["gcc", "-shared", "-fPIC", "-O1", f"-Wl,-soname,{soname}", "-x", "c", "-"]
        subprocess.run([*words, "-o", place], input=_DOUBLE.encode(), check=True)
        (folder / soname).symlink_to(place.name)
    made.module(version)
    for number in range(2):
        made.gpu(f"0000:0{number + 1}:00.0", number, f"GPU-{number}0000000-aaaa")
    made.node("nvidiactl")
    made.text("proc/driver/nvidia/params", "Mobile: 0\nModifyDeviceFiles: 1\n")
    os.chmod(made.top, 0o755)
    return made
