"""Write the pages, or with ``--check`` compare them; ``--man DIR`` writes manual pages there."""

from __future__ import annotations

import sys
from pathlib import Path

from option_tables import DOCS, docker_page, page_1_3


def main(arguments: list[str]) -> int:
    """1: with ``--check``, a page is not what it would be."""
    if arguments[:1] == ["--man"] and len(arguments) == 2:
        from option_tables.man import pages

        target = Path(arguments[1])
        target.mkdir(parents=True, exist_ok=True)
        for name, text in pages().items():
            (target / name).write_text(text, encoding="utf-8")
        return 0
    wrong = 0
    for name, text in (("docker.md", docker_page()), ("udocker-1.3.md", page_1_3())):
        path = DOCS / name
        if arguments == ["--check"]:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                print(f"{path} is not up to date: run tools/option-tables")
                wrong = 1
        else:
            path.write_text(text, encoding="utf-8")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
