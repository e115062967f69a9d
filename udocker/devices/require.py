"""What an image of NVIDIA's requires of the driver: NVIDIA_REQUIRE_*, before anything is started.

All variables must hold. In one, alternatives have spaces between them, and in an alternative all
conditions, with commas between them, must hold: ``cuda>=12.4 brand=tesla,driver>=535,driver<536``.
Of CUDA the version of the driver tells. What only the GPU could tell (brand, arch), and it is not
asked, fails nothing: there is a warning.
"""

from __future__ import annotations

import re

from udocker.devices import cuda
from udocker.devices.request import is_legacy
from udocker.errors import DeviceError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Optional

_PREFIX = "NVIDIA_REQUIRE_"
_DISABLE = "NVIDIA_DISABLE_REQUIRE"
_SKIPPED = "JETPACK"  # of another system
_TRUE = ("1", "t", "true")
_CONDITION = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)(<=|>=|!=|=|<|>)([^=<>!]+)")
_VERSION = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,5}", re.ASCII)
_LEGACY = re.compile(r"v?([0-9]{1,4}\.[0-9]{1,4})(?:[.-].*)?", re.ASCII)
_BRAND = "brand"
_HINT = f"-e {_DISABLE}=1 runs the image all the same"
_COMPARE: dict[str, Callable[[object, object], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
_ORDER: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@value
class Facts:
    """What is known of the host's driver and GPUs; None: not known."""

    driver: Optional[str] = None
    cuda: Optional[str] = None  # the newest version that the driver has
    is_least: bool = False  # it has that version of CUDA, or a newer one
    arch: Optional[str] = None  # compute capability, as 8.6
    brand: Optional[str] = None


def facts(driver: str, compatible: str = "") -> Facts:
    """What the version of a driver tells; "": it is not known.

    ``compatible``: that of a newer ``libcuda`` which programs load in place of the driver's.
    """
    found = cuda.of_driver(compatible or driver)
    if found is None:
        return Facts(driver or None)
    return Facts(driver or None, found.version, found.is_least)


def check(variables: Mapping[str, str], facts: Facts) -> tuple[str, ...]:
    """Warnings about what could not be found out.

    ``variables`` are the container's. Raises DeviceError for what does not hold, and for texts
    that are no requirements.
    """
    if variables.get(_DISABLE, "").lower() in _TRUE:
        return ()
    warnings = []
    for name, text in _requirements(variables):
        holds = _any(name, text, facts)
        if holds is None:
            warnings.append(
                f"not known whether this host has what the image requires: {_cut(text)}"
            )
        elif not holds:
            raise DeviceError(
                f"requirement error: unsatisfied condition: {_cut(text)} ({name}); "
                f"this host has {described(facts)}",
                hint=f"a newer driver, or an image for an older CUDA; {_HINT}",
            )
    return tuple(warnings)


def is_any(variables: Mapping[str, str]) -> bool:
    """Whether there is anything to check."""
    return any(True for _ in _requirements(variables))


def described(facts: Facts) -> str:
    """What is known, for messages."""
    shown = [
        f"{name} {text}{' or newer' if name == 'cuda' and facts.is_least else ''}"
        for name in ("driver", "cuda", "arch", _BRAND)
        if (text := getattr(facts, name)) is not None
    ]
    return ", ".join(shown) or "nothing that is known"


def _requirements(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables by their names, and what an image of before them means."""
    for name in sorted(variables):
        rest = name[len(_PREFIX) :]
        if name.startswith(_PREFIX) and not rest.startswith(_SKIPPED) and variables[name].strip():
            yield name, variables[name]
    if is_legacy(variables):
        version = _LEGACY.fullmatch(variables["CUDA_VERSION"].strip())
        if version is not None:
            yield "CUDA_VERSION", f"cuda>={version[1]}"


def _any(name: str, text: str, facts: Facts) -> Optional[bool]:
    """Whether one alternative holds. All of them are read: a wrong one is wrong anyway."""
    return _joined([_all(name, words, facts) for words in text.split()], True)


def _all(name: str, text: str, facts: Facts) -> Optional[bool]:
    words = [word for word in text.split(",") if word]
    return _joined([_condition(name, word, facts) for word in words], False)


def _joined(found: list[Optional[bool]], decisive: bool) -> Optional[bool]:
    """One that is ``decisive`` decides; else what is not known leaves it open."""
    if decisive in found:
        return decisive
    return None if None in found else not decisive


def _condition(name: str, text: str, facts: Facts) -> Optional[bool]:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise _malformed(name, text)
    what, operator, wanted = match[1].lower(), match[2], match[3]
    if what == _BRAND:
        if operator not in _COMPARE:
            raise _malformed(name, text)
        known = facts.brand
        return None if known is None else _COMPARE[operator](known.lower(), wanted.lower())
    if what not in ("cuda", "driver", "arch"):
        return None  # of a later grammar
    if not _VERSION.fullmatch(wanted):
        raise _malformed(name, text)
    here: Optional[str] = getattr(facts, what)
    if here is None or not _VERSION.fullmatch(here):
        return None
    if what == "cuda" and facts.is_least:
        return _of_least(operator, _numbers(here), _numbers(wanted))
    return _ORDER[operator](_numbers(here), _numbers(wanted))


def _of_least(operator: str, least: tuple[int, ...], wanted: tuple[int, ...]) -> Optional[bool]:
    """What is sure where the version is ``least`` or newer."""
    if operator in (">", ">="):
        return _ORDER[operator](least, wanted) or None
    if operator in ("<", "<="):
        return None if _ORDER[operator](least, wanted) else False
    return operator == "!=" if least > wanted else None


def _numbers(version: str) -> tuple[int, ...]:
    """12 is 12.0.0: 535.261.03 and its like are no semantic versions."""
    numbers = [int(part) for part in version.split(".")]
    return tuple(numbers + [0] * (6 - len(numbers)))


def _malformed(name: str, text: str) -> DeviceError:
    return DeviceError(
        f"{name}: not a requirement: {_cut(text)!r}",
        hint=f"requirements look like cuda>=12.2 or brand=tesla,driver>=535; {_HINT}",
    )


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"
