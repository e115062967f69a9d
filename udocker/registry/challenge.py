"""The WWW-Authenticate header (RFC 9110, 11.6.1): what a server wants to see.

Read leniently: what proxies and hand-made registries send is often not quite the grammar.
"""

from __future__ import annotations

import re

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# A parameter, with blanks wherever they may stand; a quoted value may lack its last quote.
_PARAMETER = re.compile(
    r"""\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"?|([^\s,"]*))"""
)
_SCHEME = re.compile(r"[\s,]*([A-Za-z0-9!#$%&'*+.^_`|~-]+)")
_TOKEN68 = re.compile(r"\s+[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))")


@value
class Challenge:
    """One scheme (lower case) and its parameters (names in lower case, the first one wins)."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """The parameter ``name``; empty when it is missing."""
        for key, text in self.parameters:
            if key == name:
                return text
        return ""


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """All challenges of a header, or of several headers joined by commas."""
    return tuple(_challenges(header))


def _challenges(header: str) -> Iterator[Challenge]:
    position = 0
    while True:
        scheme = _SCHEME.match(header, position)
        if scheme is None:
            return
        position = scheme.end()
        token = _TOKEN68.match(header, position)
        if token is not None:
            position = token.end()
            yield Challenge(scheme[1].lower())
            continue
        parameters, position = _parameters(header, position)
        yield Challenge(scheme[1].lower(), parameters)


def _parameters(header: str, position: int) -> tuple[tuple[tuple[str, str], ...], int]:
    """The parameters from ``position`` on, and where the next scheme may begin."""
    found: list[tuple[str, str]] = []
    while True:
        match = _PARAMETER.match(header, position)
        if match is None:
            return tuple(found), position
        quoted, bare = match[2], match[3]
        text = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        found.append((match[1].lower(), text))
        position = match.end()
        while position < len(header) and header[position] in " \t,":
            position += 1
