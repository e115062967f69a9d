"""``--gpus``, with Docker's grammar and its errors."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker.devices.gpus import Gpus, parse, record
from udocker.errors import UsageError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("all", Gpus(count=-1)),
        ("2", Gpus(count=2)),
        ("+2", Gpus(count=2)),
        ("0", Gpus(count=0)),
        ("-1", Gpus(count=-1)),
        ("-7", Gpus(count=-7)),
        ("count=3", Gpus(count=3)),
        ("count=all", Gpus(count=-1)),
        ("driver=nvidia", Gpus("nvidia", 1)),
        ("device=0", Gpus(ids=("0",))),
        ("count=0,device=0", Gpus(ids=("0",))),
        ('"device=0,1"', Gpus(ids=("0", "1"))),
        ('"device=GPU-1a,0",driver=nvidia', Gpus("nvidia", ids=("GPU-1a", "0"))),
        ("device=", Gpus(ids=("",))),
        ("capabilities=utility", Gpus(count=1, capabilities=("utility",))),
        ('all,"capabilities=compute,video"', Gpus(count=-1, capabilities=("compute", "video"))),
        ("all,options=a=b", Gpus(count=-1)),
        ('all,"options=""a=1,2"",b"', Gpus(count=-1)),
        ("all,1", Gpus(count=1)),
        ("99999999999", Gpus(count=99999999999)),
    ],
)
def test_what_docker_takes(text: str, said: Gpus) -> None:
    assert parse(text) == said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "EOF"),
        ("foo=1", "unexpected key 'foo' in 'foo=1'"),
        ("all,all", "gpu request key 'all' can be specified only once"),
        ("all,count=2", "gpu request key 'count' can be specified only once"),
        ("device=0,device=1", "gpu request key 'device' can be specified only once"),
        ("foo", 'invalid count (foo): value must be either "all" or an integer: invalid syntax'),
        ("1.5", 'invalid count (1.5): value must be either "all" or an integer: invalid syntax'),
        ("1_0", 'invalid count (1_0): value must be either "all" or an integer: invalid syntax'),
        (" 1", 'invalid count ( 1): value must be either "all" or an integer: invalid syntax'),
        ("٣", 'invalid count (٣): value must be either "all" or an integer: invalid syntax'),
        ("all,", 'invalid count (): value must be either "all" or an integer: invalid syntax'),
        ("count=", 'invalid count (): value must be either "all" or an integer: invalid syntax'),
        (
            "9223372036854775808",
            "invalid count (9223372036854775808): value must be either "
            '"all" or an integer: value out of range',
        ),
        ("device=0,1", "cannot set both Count and DeviceIDs on device request"),
        ("count=2,device=0", "cannot set both Count and DeviceIDs on device request"),
        ('a"b', 'parse error on line 1, column 2: bare " in non-quoted field'),
        ('"all', 'parse error on line 1, column 5: extraneous or missing " in quoted-field'),
        ('"a"b', 'parse error on line 1, column 3: extraneous or missing " in quoted-field'),
        ('options="', 'parse error on line 1, column 9: bare " in non-quoted field'),
        ('"options=a""b"', "failed to read gpu options: parse error on line 1, column 2: "),
        ("options=", "failed to read gpu options: EOF"),
        ("all\nall", "more than one line"),
    ],
)
def test_what_docker_refuses(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.message.startswith(f'invalid argument "{text}" for "--gpus" flag: {why}')
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("device=0,1", "--gpus '\"device=0,1\"', both kinds of quotes as they are here"),
        ("driver=nvidia,device=2,0,1", "--gpus '\"device=2,0,1\"'"),
        ("device=0,count=2", "either count=N or device=…, not both"),
        ("GPU-1a2b", "--gpus '\"device=GPU-1a2b\"'"),
        ("foo", "--gpus all, --gpus 2, or --gpus '\"device=0,1\"'"),
    ],
)
def test_the_hint_shows_the_quotes(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert str(caught.value.hint).startswith(hint)


def test_a_number_of_any_length() -> None:
    """Python itself refuses to read one of 5000 digits."""
    with pytest.raises(UsageError, match="value out of range"):
        parse("1" * 5000)
    assert parse("0" * 5000 + "2") == Gpus(count=2)


def test_a_long_text_is_not_told_whole() -> None:
    long = "x" * 5000
    for text in (long, f"{long}=1", f"{long}=,{long}=", f"options=,{long}"):
        with pytest.raises(UsageError) as caught:
            parse(text)
        assert len(caught.value.message) < 800


@settings(database=None, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet='adelvicount=,"012GPU-\n')))
def test_no_text_is_anything_but_a_request_or_an_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(parse(text), Gpus)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a", ("a",)),
        ("a,b", ("a", "b")),
        (",", ("", "")),
        ('""', ("",)),
        ('"",', ("", "")),
        ('"a,b",c', ("a,b", "c")),
        ('"a""b"', ('a"b',)),
        (" a , b ", (" a ", " b ")),
    ],
)
def test_records(text: str, fields: tuple[str, ...]) -> None:
    assert record(text) == fields
