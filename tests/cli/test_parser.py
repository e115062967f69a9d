from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker.cli.parser import FLAG, LIST, TEXT, Option, Syntax, help_text, parse
from udocker.errors import UsageError

OPTIONS = (
    Option(("--rm",), FLAG, "remove it"),
    Option(("--interactive", "-i"), FLAG, "keep stdin"),
    Option(("--tty", "-t"), FLAG, "a terminal"),
    Option(("--env", "-e"), LIST, "a variable", "NAME=VALUE"),
    Option(("--name",), TEXT, "its name", "NAME"),
    Option(("--workdir", "-w"), TEXT, "a directory", "DIR"),
    Option(("--pull",), TEXT, "when", "WHEN", ("always", "never")),
    Option(("--nothing", "-n"), FLAG, "accepted", hidden=True),
)
RUN = Syntax("[OPTIONS] IMAGE [COMMAND]", "Run.", OPTIONS, 1, None, passes_on=True)
PULL = Syntax("[OPTIONS] IMAGE", "Pull.", OPTIONS, 1, 1)
ANY = Syntax("[OPTIONS] THING…", "Do.", OPTIONS, 0, None)


def run(*arguments):
    return parse(RUN, arguments, "run")


class TestFlags:
    @pytest.mark.parametrize(
        ("arguments", "set_"),
        [
            ([], ""),
            (["--rm"], "rm"),
            (["--rm=true"], "rm"),
            (["--rm=True"], "rm"),
            (["--rm=1"], "rm"),
            (["--rm=false"], ""),
            (["--rm=FALSE"], ""),
            (["--rm=0"], ""),
            (["--rm", "--rm=false"], ""),
            (["--rm=false", "--rm"], "rm"),
            (["-i"], "interactive"),
            (["-it"], "interactive tty"),
            (["-ti"], "interactive tty"),
            (["-i", "-t"], "interactive tty"),
            (["-i=true"], "interactive"),
            (["-i=false"], ""),
            (["-it=false"], "interactive"),
            (["--interactive", "--tty"], "interactive tty"),
            (["-iii"], "interactive"),
            (["--nothing"], "nothing"),
        ],
    )
    def test_spellings(self, arguments, set_):
        parsed = run(*arguments, "image")
        flags = [option.key for option in OPTIONS if option.kind == FLAG]
        assert [key for key in flags if parsed.flag(key)] == set_.split()
        assert parsed.words == ("image",)

    def test_a_flag_takes_no_following_word(self):
        assert run("--rm", "false").words == ("false",)
        assert run("--rm", "false").flag("rm")

    @pytest.mark.parametrize(
        ("argument", "name"),
        [("--rm=", "--rm"), ("--rm=maybe", "--rm"), ("-i=", "-i"), ("-ti=2", "-i")],
    )
    def test_neither_true_nor_false(self, argument, name):
        with pytest.raises(UsageError, match=f"run: {name} is true or false, not '"):
            run(argument, "image")


class TestValues:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["--workdir=/a"],
            ["--workdir", "/a"],
            ["-w/a"],
            ["-w", "/a"],
            ["-w=/a"],
            ["-itw/a"],
            ["-itw=/a"],
            ["-itw", "/a"],
            ["-w", "/b", "--workdir=/a"],
        ],
    )
    def test_spellings(self, arguments):
        parsed = run(*arguments, "image")
        assert parsed.text("workdir") == "/a"
        assert parsed.words == ("image",)

    @pytest.mark.parametrize(
        ("arguments", "value"),
        [
            (["--name="], ""),
            (["--name", ""], ""),
            (["--name=a=b"], "a=b"),
            (["--name==a"], "=a"),
            (["--name", "--rm"], "--rm"),
            (["--name", "--"], "--"),
            (["--name", "-"], "-"),
            (["--name", "a", "--name", "b"], "b"),
            (["--name=\u00e9 \n"], "\u00e9 \n"),
            (["--name=\udcff"], "\udcff"),
        ],
    )
    def test_values_are_taken_as_they_are(self, arguments, value):
        parsed = run(*arguments, "image")
        assert parsed.text("name") == value
        assert not parsed.flag("rm")

    @pytest.mark.parametrize(
        ("arguments", "value"),
        [
            (["-w="], ""),
            (["-w", ""], ""),
            (["-w=a=b"], "a=b"),
            (["-w==a"], "=a"),
            (["-wit"], "it"),
            (["-w", "-i"], "-i"),
            (["-w-i"], "-i"),
        ],
    )
    def test_short_values(self, arguments, value):
        parsed = run(*arguments, "image")
        assert parsed.text("workdir") == value
        assert not parsed.flag("interactive")

    def test_lists_keep_their_order(self):
        parsed = run("-e", "A=1", "--env=B", "-eC=3", "-e=D=4", "--env", "", "-e", "A=1", "image")
        assert parsed.list("env") == ("A=1", "B", "C=3", "D=4", "", "A=1")
        assert parsed.list("volume") == ()

    def test_not_given(self):
        parsed = run("image")
        assert parsed.text("name") is None
        assert parsed.list("env") == ()
        assert not parsed.flag("rm")

    @pytest.mark.parametrize(
        ("arguments", "hint"),
        [
            (["--name"], "--name NAME"),
            (["-w"], "-w DIR"),
            (["-it", "-itw"], "-w DIR"),
            (["image", "-e"], "-e NAME=VALUE"),
        ],
    )
    def test_missing_value(self, arguments, hint):
        name = hint.split()[0]
        with pytest.raises(UsageError, match=f"do: {name} needs a value") as caught:
            parse(ANY, arguments, "do")
        assert caught.value.hint == hint
        assert caught.value.exit_code == 2

    def test_choices(self):
        assert run("--pull=never", "image").text("pull") == "never"
        for text in ("sometimes", "", "Never"):
            with pytest.raises(UsageError, match=f"--pull cannot be '{text}'") as caught:
                run("--pull", text, "image")
            assert caught.value.hint == "one of always, never"


class TestUnknown:
    @pytest.mark.parametrize(
        ("argument", "name", "hint"),
        [
            ("--interactiv", "--interactiv", "did you mean --interactive?"),
            ("--work-dir=/a", "--work-dir", "did you mean --workdir?"),
            ("--Rm", "--Rm", "did you mean --rm?"),
            ("--nothin", "--nothin", "udocker run --help lists the options"),
            ("--zzz", "--zzz", "udocker run --help lists the options"),
            ("--=zzzzzz", "--", "did you mean --rm?"),
            ("-x", "-x", "udocker run --help lists the options"),
            ("-ix", "-x", "udocker run --help lists the options"),
            ("-5", "-5", "udocker run --help lists the options"),
            ("-\u00e9", "-\u00e9", "udocker run --help lists the options"),
            ("-=x", "-=", "udocker run --help lists the options"),
        ],
    )
    def test_options(self, argument, name, hint):
        with pytest.raises(UsageError) as caught:
            run(argument, "image")
        assert caught.value.message == f"run: unknown option {name}"
        assert caught.value.hint == hint

    def test_no_abbreviations(self):
        with pytest.raises(UsageError, match="unknown option --inter"):
            run("--inter", "image")

    def test_before_the_command(self):
        with pytest.raises(UsageError) as caught:
            parse(ANY, ["--zzz"], "")
        assert caught.value.message == "unknown option --zzz"
        assert caught.value.hint == "udocker --help lists the options"
        with pytest.raises(UsageError) as caught:
            parse(ANY, ["--name"], "")
        assert caught.value.message == "--name needs a value"


class TestWords:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["image"], "image"),
            (["image", "ls", "-l", "--rm"], "image ls -l --rm"),
            (["image", "--rm"], "image --rm"),
            (["image", "--", "ls"], "image -- ls"),
            (["image", "--"], "image --"),
            (["image", "--help", "--unknown=x"], "image --help --unknown=x"),
            (["--rm", "--", "image", "-x"], "image -x"),
            (["--", "--image"], "--image"),
            (["--", "image", "--", "ls"], "image -- ls"),
            (["--", "--", "ls"], "-- ls"),
            (["-", "ls"], "- ls"),
        ],
    )
    def test_what_is_passed_on(self, arguments, words):
        assert run(*arguments).words == tuple(words.split())

    def test_empty_words(self):
        assert run("", "").words == ("", "")
        assert run("image", "", "-e").words == ("image", "", "-e")

    def test_options_before_the_command_only(self):
        assert not run("image", "--rm").flag("rm")
        assert run("--rm", "image", "--rm=false").flag("rm")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["a", "--rm", "b"], "a b"),
            (["--rm", "a", "b"], "a b"),
            (["a", "b", "--rm"], "a b"),
            (["--rm", "a", "--", "--name"], "a --name"),
            (["--rm", "--"], ""),
            (["--rm", "-"], "-"),
        ],
    )
    def test_options_anywhere(self, arguments, words):
        parsed = parse(ANY, arguments, "do")
        assert parsed.words == tuple(words.split())
        assert parsed.flag("rm")

    @pytest.mark.parametrize("arguments", [[], ["--rm"], ["--"], ["--name", "image"]])
    def test_too_few(self, arguments):
        with pytest.raises(UsageError, match="run: an argument is missing") as caught:
            run(*arguments)
        assert caught.value.hint == "usage: udocker run [OPTIONS] IMAGE [COMMAND]"

    def test_too_many(self):
        with pytest.raises(UsageError, match="pull: unexpected argument 'b'") as caught:
            parse(PULL, ["a", "b", "c"], "pull")
        assert caught.value.hint == "usage: udocker pull [OPTIONS] IMAGE"
        with pytest.raises(UsageError, match="unexpected argument 'a'"):
            parse(Syntax("", ""), ["a"], "version")


ARGUMENT = st.one_of(
    st.text(max_size=8),
    st.text(alphabet="-=itwenrm/", max_size=8),
    st.sampled_from(["--", "-", "", "--rm", "-it", "--env", "-e=x", "--name=", "--pull=never"]),
)


@settings(max_examples=500, deadline=None, database=None)
@given(st.lists(ARGUMENT, max_size=6), st.sampled_from([RUN, PULL, ANY]))
def test_no_command_line_raises_anything_else(arguments, syntax):
    try:
        parsed = parse(syntax, arguments, "do")
    except UsageError:
        return
    count = len(parsed.words)
    assert count >= syntax.at_least
    if syntax is RUN:
        assert parsed.words == tuple(arguments[len(arguments) - count :])


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(ARGUMENT, max_size=6))
def test_a_command_is_passed_on_as_it_is(command):
    assert run("--rm", "image", *command).words == ("image", *command)
    assert run("--", "image", *command).words == ("image", *command)


class TestHelp:
    def test_text(self):
        assert help_text("pull", PULL).splitlines() == [
            "usage: udocker pull [OPTIONS] IMAGE",
            "",
            "Pull.",
            "",
            "Options:",
            "  --rm                  remove it",
            "  -i, --interactive     keep stdin",
            "  -t, --tty             a terminal",
            "  -e, --env NAME=VALUE  a variable",
            "  --name NAME           its name",
            "  -w, --workdir DIR     a directory",
            "  --pull WHEN           when",
        ]

    def test_details_and_no_options(self):
        text = help_text("x", Syntax("", "Do.", details="\n  More.\n"))
        assert text == "usage: udocker x\n\nDo.\n\nMore.\n"

    def test_long_lines(self):
        options = (
            Option(("--" + "n" * 40, "-n"), TEXT, "word " * 60, "VALUE"),
            Option(("--short",), FLAG, "word " * 60),
            Option(("--empty",), FLAG, ""),
        )
        lines = help_text("x", Syntax("", "Do.", options)).splitlines()
        assert all(len(line) <= 100 and line == line.rstrip() for line in lines)
        assert lines[-1] == "  --empty"
        assert lines.count("  -n, --" + "n" * 40 + " VALUE") == 1
        assert sum(line.count("word") for line in lines) == 120
