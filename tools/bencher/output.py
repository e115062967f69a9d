"""What a measurement leaves: text, JSON and a chart in a directory, and the text on stdout."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from typing import TYPE_CHECKING, Any

from bencher import again
from bencher.chart import chart
from bencher.measure import table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bencher.measure import Row

_FIRST = "udocker's time divided by the row's"


def write_lines(text: str, values: Sequence[Any], out: Path, name: str) -> None:
    """A table of a part's own, and the dataclasses that it was made of."""
    _put(out, name, f"{text}\n{_system()}.", [dataclasses.asdict(value) for value in values])


def write_panels(
    panels: list[tuple[str, list[Row]]],
    out: Path,
    name: str = "bench",
    figures: Sequence[again.Figure] = (),
    of_figures: str = again.TITLE,
) -> None:
    """Rows by title with a chart, and figures beside them."""
    ratio = "the row's time divided by the first row's" if name != "bench" else _FIRST
    text = "\n\n".join(
        [
            f"Medians of interleaved runs; x: {ratio}. {_system()}.",
            *(table(title, found) for title, found in panels),
            *([again.text(figures, of_figures)] if figures else []),
        ]
    )
    data = {title: [dataclasses.asdict(row) for row in found] for title, found in panels}
    if figures:
        data[of_figures] = [dataclasses.asdict(figure) for figure in figures]
    _put(out, name, text, data)
    drawn = chart(panels, of_first=name != "bench", cpu=name == "peers")
    (out / f"{name}.svg").write_text(drawn + "\n")


def _put(out: Path, name: str, text: str, data: object) -> None:
    out.mkdir(parents=True, exist_ok=True)
    print(text)
    (out / f"{name}.txt").write_text(text + "\n")
    (out / f"{name}.json").write_text(json.dumps(data, indent=2) + "\n")


def _system() -> str:
    return f"Linux {platform.release()} {platform.machine()}, {os.cpu_count()} processors"
