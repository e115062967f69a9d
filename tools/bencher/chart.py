"""A bar chart as SVG: one panel a benchmark, a bar for each contender's wall time."""

from __future__ import annotations

from html import escape

from bencher.measure import Row

_WIDTH, _BAR, _LABEL = 760, 22, 260


def chart(panels: list[tuple[str, list[Row]]], *, of_first: bool = False, cpu: bool = False) -> str:
    """The panels below each other; a bar's length is the median wall time within its panel.

    ``of_first``: as of ``rows``; ratios are then the row's divided by the first's. ``cpu``: of
    processor time.
    """
    parts: list[str] = []
    top = 10
    whose = "" if of_first else "udocker: "
    for title, rows in panels:
        bars = [
            (row.name, *((row.cpu, row.cpu_ratio) if cpu else (row.wall, row.wall_ratio)))
            for row in rows
        ]
        top = _panel(parts, top, title, bars, whose)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
        f'viewBox="0 0 {_WIDTH} {top}" font-family="sans-serif" font-size="13">'
    )
    return "\n".join(
        [head, f'<rect width="{_WIDTH}" height="{top}" fill="#fff"/>', *parts, "</svg>"]
    )


def _panel(
    parts: list[str], top: int, title: str, bars: list[tuple[str, float, float]], whose: str
) -> int:
    parts.append(f'<text x="10" y="{top + 16}" font-weight="bold">{escape(title)}</text>')
    top += 28
    longest = max(seconds for _, seconds, _ in bars)
    for number, (name, seconds, ratio) in enumerate(bars):
        length = max(2, int((_WIDTH - _LABEL - 150) * seconds / longest))
        colour = "#2a6f97" if number == 0 else "#b8c4cc"
        base = top + 15
        parts.append(f'<text x="{_LABEL - 8}" y="{base}" text-anchor="end">{escape(name)}</text>')
        parts.append(
            f'<rect x="{_LABEL}" y="{top}" width="{length}" height="{_BAR - 5}" fill="{colour}"/>'
        )
        note = f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"
        if number > 0:
            note += f" ({whose}{ratio:.2f}x)"
        parts.append(f'<text x="{_LABEL + length + 6}" y="{base}">{note}</text>')
        top += _BAR
    return top + 14
