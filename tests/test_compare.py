"""docs/compare.md says what the picture beside it shows, of the programs that tools/bench knows."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from bencher.hosts import HOSTS
from bencher.peers import PEERS

_DOCS = Path(__file__).parents[1] / "docs"


def test_the_table_is_the_picture() -> None:
    page = (_DOCS / "compare.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (.*) \|$", page, re.MULTILINE)
    header = "| " + " | ".join(HOSTS)
    first = lines.index(header)
    rows = [line.split(" | ") for line in lines[first + 1 : first + 1 + len(PEERS)]]
    assert [row[0] for row in rows] == [peer.name for peer in PEERS]
    drawn = ElementTree.parse(_DOCS / "figures/hosts.svg").getroot()
    texts = [node.text for node in drawn.iter() if node.tag.endswith("text")]
    assert texts[:-1] == [*HOSTS, *(text for row in rows for text in row)]
