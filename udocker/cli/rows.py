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


class Form:
    """What --format says, read before there are rows: what is wrong with it is wrong of none, too.

    ``table`` before the template gives heads and columns.
    """

    def __init__(self, text: str, headers: Mapping[str, str] | None = None) -> None:
        """``headers``: the fields of a row, and what stands above their columns; None: any field.

        Raises UsageError.
        """
        from udocker.cli.template import Template

        text = text.replace("\\t", "\t").replace("\\n", "\n")
        self._is_table = text.startswith(_TABLE)
        self._headers = headers or {}
        if text == "json":
            text = "{{json .}}"
        self._template = Template(text[len(_TABLE) :].strip(" ") if self._is_table else text)
        if headers is not None:
            self._template.check(headers, ("Label",))

    def print(self, context: Context, rows: Sequence[Row]) -> None:
        """Raises UsageError."""
        if not self._is_table:
            for row in rows:
                context.print(self._template.fill(row))
            return
        names = rows[0] if rows else self._headers
        head: Row = {name: self._headers.get(name) or name.upper() for name in names}
        if "Label" in head:
            head["Label"] = str  # of a key, the key itself
        lines = [self._template.fill(row) for row in ({**head}, *rows)]
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
