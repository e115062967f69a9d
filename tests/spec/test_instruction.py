"""Dockerfile instructions of commit --change."""

from __future__ import annotations

from typing import Any

import pytest

from udocker.errors import UsageError
from udocker.spec.instruction import apply

RUN: dict[str, Any] = {
    "Env": ["PATH=/bin", "EMPTY="],
    "Cmd": ["sh"],
    "WorkingDir": "/srv",
    "Labels": {"a": "1"},
    "ExposedPorts": {"1/tcp": {}},
    "Volumes": {"/old": {}},
}


@pytest.mark.parametrize(
    ("text", "key", "found"),
    [
        ('CMD ["a", "b c"]', "Cmd", ["a", "b c"]),
        ("CMD []", "Cmd", []),
        ("cmd echo $PATH", "Cmd", ["/bin/sh", "-c", "echo $PATH"]),
        ("CMD [ -f x ] && y", "Cmd", ["/bin/sh", "-c", "[ -f x ] && y"]),
        ('ENTRYPOINT ["/x"]', "Entrypoint", ["/x"]),
        ("ENV A=1", "Env", ["PATH=/bin", "EMPTY=", "A=1"]),
        ("ENV\tPATH=/x:$PATH  B='a $b'", "Env", ["PATH=/x:/bin", "EMPTY=", "B=a $b"]),
        ('ENV A="x ${PATH} \\"q\\" \\n"', "Env", ["PATH=/bin", "EMPTY=", 'A=x /bin "q" \\n']),
        ("ENV A=a\\ b", "Env", ["PATH=/bin", "EMPTY=", "A=a b"]),
        ("ENV A=${NO:-d}${PATH:+p}${EMPTY:-e}", "Env", ["PATH=/bin", "EMPTY=", "A=dpe"]),
        ("ENV A=\\$PATH$$", "Env", ["PATH=/bin", "EMPTY=", "A=$PATH$$"]),
        ("ENV OLD some text", "Env", ["PATH=/bin", "EMPTY=", "OLD=some text"]),
        ("ENV A==", "Env", ["PATH=/bin", "EMPTY=", "A=="]),
        ("LABEL b=2 'c d'=\"x y\"", "Labels", {"a": "1", "b": "2", "c d": "x y"}),
        ("USER app:app", "User", "app:app"),
        ("WORKDIR sub/../x", "WorkingDir", "/srv/x"),
        ("WORKDIR /a b", "WorkingDir", "/a b"),
        ("WORKDIR ../../..", "WorkingDir", "/"),
        (
            "EXPOSE 80 90-91/udp",
            "ExposedPorts",
            {key: {} for key in ("1/tcp", "80/tcp", "90/udp", "91/udp")},
        ),
        ("VOLUME /a /b", "Volumes", {key: {} for key in ("/old", "/a", "/b")}),
        ('VOLUME ["/a b"]', "Volumes", {key: {} for key in ("/old", "/a b")}),
    ],
)
def test_changes(text: str, key: str, found: object) -> None:
    assert apply(RUN, [text])[key] == found
    assert apply({}, ["ENV A=1"]) == {"Env": ["A=1"]}


def test_an_entrypoint_takes_away_the_command_that_was_not_made_for_it() -> None:
    assert "Cmd" not in apply(RUN, ["ENTRYPOINT x"])
    assert apply(RUN, ["CMD []", "ENTRYPOINT x"])["Cmd"] == []
    assert RUN["Cmd"] == ["sh"]


def test_later_ones_see_what_earlier_ones_did() -> None:
    changed = apply(RUN, ["ENV A=x", "ENV B=$A$A", "WORKDIR $B", "WORKDIR y"])
    assert changed["WorkingDir"] == "/srv/xx/y"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing is none of CMD, "),
        ("RUN x", "RUN is none of CMD, "),
        ("CMD", "with its value"),
        ("ENV A=1\nENV B=2", "one instruction"),
        ('CMD ["a", 1]', "a list is one of strings"),
        ("CMD ['a']", "a list is one of strings"),
        ('CMD ["a\\u0000"]', "null character"),
        ("CMD x\0", "one instruction"),
        ("ENV A", "NAME=VALUE"),
        ("ENV =x", "NAME=VALUE"),
        ("ENV A=1 B", "NAME=VALUE"),
        ("ENV A='x", "a quote is not closed"),
        ("ENV A=\udcff", "surrogates"),
        ("USER a b", "one word"),
        ("USER ''", "one word"),
        ("USER $NO", "one word"),
        ("EXPOSE 0", "'0' is not a port"),
        ("EXPOSE 70000", "'70000' is not a port"),
        ("EXPOSE 9-8", "'9-8' is not a port"),
        ("EXPOSE 80/icmp", "'80/icmp' is not a port"),
        ("VOLUME a", "'a' is not an absolute path"),
        ('VOLUME [""]', "'' is not an absolute path"),
    ],
)
def test_what_is_no_change(text: str, why: str) -> None:
    with pytest.raises(UsageError, match="not a change: ") as caught:
        apply(RUN, [text])
    assert why in caught.value.message
    assert caught.value.hint
