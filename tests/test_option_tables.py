"""What other command lines have is known here, option by option, and the pages say what it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

import option_tables
from udocker import config
from udocker.cli import commands
from udocker.cli.main import GENERAL
from udocker.cli.parser import FLAG, parse

DOCKER = option_tables.docker_run()
OLD = option_tables.old("options")


def test_the_pages_are_up_to_date() -> None:
    hint = "run tools/option-tables"
    pages = {
        "docker.md": option_tables.docker_page(),
        "udocker-1.3.md": option_tables.page_1_3(),
    }
    for name, text in pages.items():
        assert (option_tables.DOCS / name).read_text(encoding="utf-8") == text, hint


def test_every_option_of_docker_run_is_known_by_name() -> None:
    syntax = commands.find("run").syntax
    known = 0
    for names in DOCKER:
        verdict, text = option_tables.verdict(names[0])
        assert verdict in ("works", "accepted", "refused")
        assert text
        for name in names:
            known += name == "--help" or option_tables.find("run", name) is not None
    assert known == sum(len(names) for names in DOCKER) == 122
    assert len(DOCKER) == 107
    for names in DOCKER:
        option = option_tables.find("run", names[0])
        if option is None:
            assert names == ("--help",)
            continue
        word = option.choices[0] if option.choices else "1"
        spelled = [names[0]] if option.kind == FLAG else [f"{names[0]}={word}"]
        assert parse(syntax, [*spelled, "image", "x"], "run").words == ("image", "x")
        apart = [names[0]] if option.kind == FLAG else [names[0], word]
        assert parse(syntax, [*apart, "image", "x"], "run").words == ("image", "x")


def test_every_command_and_option_of_1_3_is_known() -> None:
    known = 0
    for what, text in OLD:
        command, _, name = what.partition(" ")
        assert option_tables.of_1_3(what, text)
        if name:
            assert option_tables.find(command, name) is not None, what
        else:
            assert command in commands.names()
        known += 1
    assert known == len(OLD) == 119


@pytest.mark.parametrize("section", ["variables", "settings"])
def test_every_variable_and_key_of_1_3_has_an_answer(section: str) -> None:
    for name, text in option_tables.old(section):
        assert text or option_tables.setting(name), name


def test_keys_of_1_3_are_accepted_in_its_files(tmp_path: Path) -> None:
    numbers = ("verbose_level", "ctimeout")
    words = {"http_insecure": "False", **dict.fromkeys(numbers, "3")}
    keys = [name for name, _ in option_tables.old("settings")]
    path = tmp_path / "udocker.conf"
    path.write_text("[DEFAULT]\n" + "".join(f"{key} = {words.get(key, '/x')}\n" for key in keys))
    settings = config.load({"HOME": str(tmp_path)}, {}, str(path))
    assert settings.topdir == "/x"
    assert settings.verbosity == 3
    assert len(keys) == 63


def test_general_options_of_1_3() -> None:
    words = [what.split()[1] for what, _ in OLD if what.startswith("general")]
    given = [f"{word}=x" if word in ("--repo", "--config") else word for word in words]
    assert parse(GENERAL, [*given, "ps"], "").words == ("ps",)


def test_manual_pages_have_what_help_has() -> None:
    from option_tables.man import pages

    found = pages()
    assert len(found) == len(commands.names()) + 1
    for name in commands.names():
        page = found[f"udocker-{name.replace(' ', '-')}.1"]
        for option in commands.find(name).syntax.options:
            shown = "\\fB" + option.names[0].replace("-", "\\-") + "\\fR"
            assert (shown in page) != option.hidden, (name, option.names)
    assert all(f".B {name}" in found["udocker.1"] for name in ("run", "volume ls"))


@pytest.mark.skipif(
    shutil.which("groff") is None, reason="groff is missing: apt install groff-base"
)
def test_roff_has_nothing_to_complain_of() -> None:
    from option_tables.man import pages

    text = "".join(pages().values())
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-Kutf8", "-z"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
