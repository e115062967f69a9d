from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker.cli.template import Template
from udocker.errors import UsageError

DATA = {
    "ID": "abc",
    "Names": "box,chest",
    "Labels": {"a": "1", "b.c": "2"},
    "List": ["x", "y"],
    "Rows": [{"Name": "n", "Size": 3}, {"Name": "m", "Size": 4}],
    "Empty": [],
    "Nothing": None,
    "Yes": True,
    "No": False,
    "Number": 7,
    "Config": {"Env": ["A=1", "B=2"], "User": ""},
    "Label": lambda key: f"<{key}>",
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("{{.ID}}", "abc"),
        ("{{ .ID }}", "abc"),
        ("a{{.ID}}b{{.Names}}c", "aabcbbox,chestc"),
        ("{{.id}}", "abc"),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{.Labels}}", "map[a:1 b.c:2]"),
        ("{{.Nothing}}", "<no value>"),
        ("{{.Nothing.Deeper}}", "<no value>"),
        ("{{.Yes}} {{.No}} {{.Number}}", "true false 7"),
        ("{{json .List}}", '["x","y"]'),
        ("{{json .Names}}", '"box,chest"'),
        ("{{.List | json}}", '["x","y"]'),
        ('{{join .List ", "}}', "x, y"),
        ('{{range split .Names ","}}<{{.}}>{{end}}', "<box><chest>"),
        ("{{upper .ID}} {{lower .ID}} {{title .ID}}", "ABC abc Abc"),
        ("{{pad .ID 1 2}}|", " abc  |"),
        ("{{truncate .ID 2}}", "ab"),
        ('{{index .Labels "b.c"}}', "2"),
        ('{{index .Labels "none"}}', ""),
        ("{{index .List 1}}", "y"),
        ('{{index .Config.Env 0 | printf "%s!"}}', "A=1!"),
        ('{{printf "%d-%s-%q-%v" .Number .ID .ID .Yes}}', '7-abc-"abc"-true'),
        ("{{len .List}} {{len .ID}}", "2 3"),
        ("{{if .Yes}}y{{else}}n{{end}}", "y"),
        ("{{if .No}}y{{else}}n{{end}}", "n"),
        ("{{if .Empty}}y{{end}}", ""),
        ("{{if eq .Number 7}}seven{{end}}", "seven"),
        ("{{if and .Yes (not .No)}}both{{end}}", "both"),
        ("{{if or .No .Number}}one{{end}}", "one"),
        ("{{if .No}}a{{else if .Yes}}b{{else}}c{{end}}", "b"),
        ("{{if .No}}a{{else if .No}}b{{else}}c{{end}}d", "cd"),
        ("{{range .Rows}}{{.Name}}={{.Size}};{{end}}", "n=3;m=4;"),
        ("{{range $i, $row := .Rows}}{{$i}}{{$row.Name}}{{$.ID}} {{end}}", "0nabc 1mabc "),
        ("{{range $key, $text := .Labels}}{{$key}}:{{$text}} {{end}}", "a:1 b.c:2 "),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .Nothing}}x{{end}}", ""),
        ("{{with .Config}}{{.Env}}{{end}}", "[A=1 B=2]"),
        ("{{with .Config.User}}{{.}}{{else}}root{{end}}", "root"),
        ("{{$x := .ID}}{{$x}}{{$x}}", "abcabc"),
        ("a {{- .ID -}} b", "aabcb"),
        ("{{/* nothing */}}x", "x"),
        ('{{.Label "a.b"}}', "<a.b>"),
        ("{{println .ID}}", "abc\n"),
        ('{{"a"}}{{`b`}}{{1}}{{true}}', "ab1true"),
        ('{{if ne .ID "x"}}{{if gt .Number 3}}in{{end}}{{end}}', "in"),
        ("{{(index .Rows 0).Name}}", None),  # Go has it, this subset tells that it has not
    ],
)
def test_what_comes_out(template: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(UsageError):
            Template(template).fill(DATA)
        return
    assert Template(template).fill(DATA) == text


def test_json_of_all_leaves_out_what_is_asked_with_an_argument() -> None:
    found = json.loads(Template("{{json .}}").fill(DATA))
    assert found == {key: each for key, each in DATA.items() if key != "Label"}


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{.Foo}}", "there is no Foo here; fields: Config, Empty, ID"),
        ("{{.ID.x}}", "'abc' has no field x"),
        ("{{foo .ID}}", "there is no function foo; functions: and, eq"),
        ("{{", "{{ without }}"),
        ("{{.ID", "{{ without }}"),
        ("{{}}", "has nothing in it"),
        ("{{if .ID}}x", "an {{end}} is missing"),
        ("{{end}}", "{{end}} without a beginning"),
        ("{{else}}", "{{else}} without a beginning"),
        ("{{if}}x{{end}}", "something is missing"),
        ("{{.ID | }}", "something is missing"),
        ("{{(.ID}}", "a ) is missing"),
        ("{{.ID)}}", "')' is not expected"),
        ("{{range .ID}}{{end}}", "which is neither a list nor a map"),
        ("{{$x}}", "there is no variable $x"),
        ("{{.ID 3}}", "is no function"),
        ("{{index .List 9}}", "index cannot take"),
        ("{{join 3}}", "join cannot take"),
        ("{{'x'}}", "is not understood"),
        ("{{x := .ID}}", "a variable is expected"),
        ("{{if .ID}}" * 150, "too deep"),
    ],
)
def test_what_is_wrong_is_told(template: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        Template(template).fill(DATA)
    assert why in caught.value.message
    assert caught.value.message.startswith("--format ")


@settings(max_examples=300, deadline=None)
@given(
    st.text(
        st.sampled_from(list("{}.$|()\"' \\abIDrangeifendjsonListwith0:=,-")),
        max_size=30,
    )
)
def test_any_text_is_filled_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(Template(text).fill(DATA), str)
