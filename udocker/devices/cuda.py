"""The newest CUDA that a driver of NVIDIA's has, by its version: nothing is run to ask it.

The branch of a driver, which is the first number of its version, decides: NVIDIA publishes which
driver each CUDA comes with. https://docs.nvidia.com/cuda/cuda-toolkit-release-notes
"""

from __future__ import annotations

from udocker.model.value import value

# The branches for Linux with the CUDA of each, in order. 430 had two, and is left out.
_BRANCHES = (
    *((384, "9.0"), (387, "9.1"), (390, "9.1"), (396, "9.2"), (410, "10.0"), (415, "10.0")),
    *((418, "10.1"), (435, "10.1"), (440, "10.2"), (450, "11.0"), (455, "11.1"), (460, "11.2")),
    *((465, "11.3"), (470, "11.4"), (495, "11.5"), (510, "11.6"), (515, "11.7"), (520, "11.8")),
    *((525, "12.0"), (530, "12.1"), (535, "12.2"), (545, "12.3"), (550, "12.4"), (555, "12.5")),
    *((560, "12.6"), (565, "12.7"), (570, "12.8"), (575, "12.9"), (580, "13.0"), (590, "13.1")),
    *((595, "13.2"), (610, "13.3")),
)


@value
class Cuda:
    """A version. ``is_least``: the driver has it or a newer one."""

    version: str
    is_least: bool = False


def of_driver(version: str) -> Cuda | None:
    """That of a driver; None for those of before the table, and for what is no version.

    A branch that is not known has no older one than the branch before it.
    """
    first = version.partition(".")[0]
    if not (first.isascii() and first.isdigit() and len(first) < 10):
        return None
    branch, known = int(first), [row for row in _BRANCHES if row[0] <= int(first)]
    return Cuda(known[-1][1], known[-1][0] != branch) if known else None
