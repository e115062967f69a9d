"""/dev/dri: the nodes of graphics cards, by the place of the card on the bus."""

from __future__ import annotations

import os

from udocker.devices.places import names, nodes, number, text
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.devices.places import Places
    from udocker.model.devices import Node

AMD, INTEL, NVIDIA = "0x1002", "0x8086", "0x10de"  # vendors: pci.ids


@value
class Card:
    """A card with its nodes: renderD*, then card*. ``minor``: of the render node; -1."""

    bus: str
    vendor: str
    nodes: tuple[Node, ...]
    minor: int = -1
    name: str = ""


def cards(places: Places, vendor: str) -> list[Card]:
    """Those of ``vendor``, in the order of the bus. What the kernel does not tell is not found."""
    found: dict[str, list[str]] = {}
    top = f"{places.sys}/class/drm"
    for name in names(top):
        if _is_card(name) and text(f"{top}/{name}/device/vendor").strip() == vendor:
            bus = os.path.basename(os.path.realpath(f"{top}/{name}/device"))
            found.setdefault(bus, []).append(name)
    return [_card(places, bus, vendor, found[bus]) for bus in sorted(found)]


def nodes_at(places: Places, bus: str) -> tuple[Node, ...]:
    """The nodes of the card at ``bus``: as the kernel says, or udev's links."""
    found = [name for name in names(f"{places.sys}/bus/pci/devices/{bus}/drm") if _is_card(name)]
    if not found:
        links = f"{places.dev('dri')}/by-path"
        for kind in ("render", "card"):
            target = os.path.realpath(f"{links}/pci-{bus}-{kind}")
            if os.path.exists(target):
                found.append(os.path.basename(target))
    return nodes(places.dev(f"dri/{name}") for name in _ordered(found))


def _card(places: Places, bus: str, vendor: str, found: list[str]) -> Card:
    ordered = _ordered(found)
    minors = [number(name)[0] for name in ordered if name.startswith("renderD")]
    name = text(f"{places.sys}/class/drm/{ordered[0]}/device/product_name").strip()
    there = nodes(places.dev(f"dri/{name}") for name in ordered)
    return Card(bus, vendor, there, minors[0] if minors else -1, name)


def _ordered(found: list[str]) -> list[str]:
    return sorted(found, key=lambda name: (not name.startswith("renderD"), number(name)))


def _is_card(name: str) -> bool:
    """Not what is plugged into one, as card0-DP-1."""
    return name.removeprefix("renderD").removeprefix("card").isdigit()
