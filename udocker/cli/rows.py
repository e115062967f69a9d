"""Lists as Docker prints them: ``--format`` by template, table or JSON, and ``--filter``."""

from __future__ import annotations

from udocker.cli.table import columns
from udocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from udocker.cli.context import Context

    Row = dict[str, object]
    Test = Callable[[Row, str], bool]

_TABLE = "table"


def print_rows(
    context: Context, rows: Sequence[Row], form: str, headers: Mapping[str, str]
) -> None:
    """Print ``rows`` by the template ``form``; ``table`` before it gives heads and columns.

    ``headers``: what stands above a field's column. Raises UsageError.
    """
    from udocker.cli.template import Template

    form = form.replace("\\t", "\t").replace("\\n", "\n")
    if form == "json":
        form = "{{json .}}"
    if not form.startswith(_TABLE):
        template = Template(form)
        for row in rows:
            context.print(template.fill(row))
        return
    template = Template(form[len(_TABLE) :].strip(" "))
    names = rows[0] if rows else headers
    head: Row = {name: headers.get(name) or name.upper() for name in names}
    if "Label" in head:
        head["Label"] = str  # of a key, the key itself
    lines = [template.fill(row) for row in ({**head}, *rows)]
    context.print(columns([line.split("\t") for line in lines]))


def filtered(rows: Iterable[Row], given: Sequence[str], tests: Mapping[str, Test]) -> list[Row]:
    """The rows that ``--filter`` leaves: of one key any value will do, and all keys count.

    Raises UsageError.
    """
    wanted: dict[str, list[str]] = {}
    for text in given:
        key, equals, word = text.partition("=")
        if key not in tests or not equals:
            raise UsageError(
                f"--filter {text!r}: not known here", hint=f"KEY=VALUE; KEY: {', '.join(tests)}"
            )
        wanted.setdefault(key, []).append(word)
    return [
        row
        for row in rows
        if all(any(tests[key](row, word) for word in words) for key, words in wanted.items())
    ]


def has_label(labels: Mapping[str, str], word: str) -> bool:
    """Whether ``KEY`` is there, or ``KEY=VALUE``."""
    key, equals, text = word.partition("=")
    return key in labels and (not equals or labels[key] == text)


def size(count: int) -> str:
    """Bytes as Docker prints them: 1.24MB."""
    number = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            return f"{number:.3g}{unit}"
        number /= 1000
    return ""
