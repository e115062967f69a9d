"""A bar chart as SVG: one panel a benchmark, a bar for each contender's wall time."""

from __future__ import annotations

from html import escape

from bencher.measure import Row

_WIDTH, _BAR, _LABEL = 760, 22, 260


def chart(panels: list[tuple[str, list[Row]]], *, of_first: bool = False) -> str:
    """The panels below each other; a bar's length is the median wall time within its panel.

    ``of_first``: as of ``rows``; ratios are then the row's divided by the first's.
    """
    parts: list[str] = []
    top = 10
    whose = "" if of_first else "udocker: "
    for title, rows in panels:
        top = _panel(parts, top, title, rows, whose)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
        f'viewBox="0 0 {_WIDTH} {top}" font-family="sans-serif" font-size="13">'
    )
    return "\n".join(
        [head, f'<rect width="{_WIDTH}" height="{top}" fill="#fff"/>', *parts, "</svg>"]
    )


def _panel(parts: list[str], top: int, title: str, rows: list[Row], whose: str) -> int:
    parts.append(f'<text x="10" y="{top + 16}" font-weight="bold">{escape(title)}</text>')
    top += 28
    longest = max(row.wall for row in rows)
    for number, row in enumerate(rows):
        length = max(2, int((_WIDTH - _LABEL - 150) * row.wall / longest))
        colour = "#2a6f97" if number == 0 else "#b8c4cc"
        base = top + 15
        parts.append(
            f'<text x="{_LABEL - 8}" y="{base}" text-anchor="end">{escape(row.name)}</text>'
        )
        parts.append(
            f'<rect x="{_LABEL}" y="{top}" width="{length}" height="{_BAR - 5}" fill="{colour}"/>'
        )
        note = f"{row.wall * 1000:.0f} ms" if row.wall < 10 else f"{row.wall:.1f} s"
        if number > 0:
            note += f" ({whose}{row.wall_ratio:.2f}x)"
        parts.append(f'<text x="{_LABEL + length + 6}" y="{base}">{note}</text>')
        top += _BAR
    return top + 14
