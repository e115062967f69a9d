from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker.registry.challenge import parse_challenges


def read(header):
    return [(c.scheme, dict(c.parameters)) for c in parse_challenges(header)]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("   ", []),
        (",,", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a"', [("basic", {"realm": "a"})]),
        ("Basic realm=a", [("basic", {"realm": "a"})]),
        (
            'Bearer realm="https://a/token",service="s",scope="repository:x/y:pull"',
            [
                (
                    "bearer",
                    {"realm": "https://a/token", "service": "s", "scope": "repository:x/y:pull"},
                )
            ],
        ),
        # blanks after commas and around the equals sign, upper-case names
        (
            'BEARER  Realm = "https://a/t" ,  service="s" , scope=x',
            [("bearer", {"realm": "https://a/t", "service": "s", "scope": "x"})],
        ),
        # a comma and a blank inside quotes
        (
            'Bearer realm="r",scope="repository:x:pull,push repository:y:pull"',
            [("bearer", {"realm": "r", "scope": "repository:x:pull,push repository:y:pull"})],
        ),
        # escapes
        (r'Bearer realm="a\"b\\c"', [("bearer", {"realm": 'a"b\\c'})]),
        # several challenges, with and without parameters and token68
        (
            'Negotiate, Basic realm="b", Bearer realm="r",service="s"',
            [
                ("negotiate", {}),
                ("basic", {"realm": "b"}),
                ("bearer", {"realm": "r", "service": "s"}),
            ],
        ),
        ("Negotiate YWJj==, Basic realm=b", [("negotiate", {}), ("basic", {"realm": "b"})]),
        (
            'Basic realm="b",Bearer realm="r"',
            [("basic", {"realm": "b"}), ("bearer", {"realm": "r"})],
        ),
        # the first of two parameters with one name is what get() gives; an empty value is one
        ('Bearer realm="",service="s"', [("bearer", {"realm": "", "service": "s"})]),
        # broken: no last quote, a stray comma
        ('Bearer realm="https://a/t', [("bearer", {"realm": "https://a/t"})]),
        ('Bearer realm="a",,service="s",', [("bearer", {"realm": "a", "service": "s"})]),
    ],
)
def test_challenges(header, expected):
    assert read(header) == expected


def test_the_first_parameter_of_a_name_counts():
    (challenge,) = parse_challenges('Bearer realm="one",realm="two"')
    assert challenge.get("realm") == "one"
    assert challenge.get("service") == ""


@settings(database=None, deadline=None)  # the checkout may be read-only
@given(st.text(max_size=60))
def test_any_header_is_read_without_an_error(text):
    parse_challenges(text)
    parse_challenges(f"Bearer {text}")


@settings(database=None, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_a_quoted_value_comes_back_whole(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    (challenge, other) = parse_challenges(f'Bearer scope="{escaped}", Basic realm=b')
    assert challenge.get("scope") == text
    assert other.scheme == "basic"
