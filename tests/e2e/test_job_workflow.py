"""Workflow engines whose steps are jobs of a real Slurm: as they come, from PyPI."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.jobs import BUSYBOX, Slurm

if TYPE_CHECKING:
    from e2e.conftest import Result

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.jobs"]

_PAGE = Path(__file__).parents[2] / "docs/slurm/README.md"
# The cluster accounts for no jobs. Of steps it is asked after so many seconds, and then ever more
# rarely: most are over by then.
_OPTIONS = "--slurm-status-command=squeue --slurm-init-seconds-before-status-checks=10"
needs_snakemake = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="host: snakemake's plugin for Slurm needs Python 3.11"
)


def _block(language: str, begin: str) -> str:
    """The block of the page that begins so, with the tests' own image."""
    text = _PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^```{language}\n({begin}.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None, begin
    return found[1].replace("debian:12", BUSYBOX)


def _path(slurm: Slurm) -> str:
    """Of the engines, which are installed beside Python, and of Slurm."""
    return f"{slurm.programs()}:{Path(sys.executable).parent}:/usr/bin:/bin"


def _snakemake(slurm: Slurm, directory: str, snakefile: str, check: bool = True) -> Result:
    """What the page's command says of a Snakefile, on the login host."""
    place = slurm.place / directory
    place.mkdir()
    (place / "Snakefile").write_text(snakefile)
    for part in "abc":
        (place / f"{part}.txt").write_text("word " * ord(part))
    line = f"{_block('sh', 'snakemake').strip()} {_OPTIONS}"
    path = f"PATH={_path(slurm)}"
    return slurm("/usr/bin/env", f"--chdir={place}", path, "sh", "-c", line, check=check)


def _states(slurm: Slurm, said: str) -> list[str]:
    """How the jobs ended that were sent."""
    jobs = re.findall(r"submitted with SLURM jobid (\d+)", said)
    return [slurm.end(job) for job in jobs]


@needs_snakemake
def test_steps_of_snakemake_are_jobs(slurm: Slurm) -> None:
    said = _snakemake(slurm, "words", _block("python", "RUN = ")).err
    assert _states(slurm, said) == ["COMPLETED"] * 4, said
    text = (slurm.place / "words/all.txt").read_text()
    assert re.sub(r"\bnode\d$", "node", text, flags=re.MULTILINE) == (
        "a 97 words, node\nb 98 words, node\nc 99 words, node\n"
    )


_BREAKS = """
rule all:
    input: "a.out", "b.out"

rule works:
    output: "a.out"
    shell: "{RUN} sh -c 'echo made > {output}'"

rule breaks:
    output: "b.out"
    shell: "{RUN} sh -c 'echo half > {output}; exit 3' || {{ echo it ended with $?; exit 3; }}"
"""


@needs_snakemake
def test_a_step_that_fails_fails_the_workflow(slurm: Slurm) -> None:
    run = _block("python", "RUN = ").splitlines()[0]
    done = _snakemake(slurm, "breaks", f"{run}\n{_BREAKS}", check=False)
    assert done.code == 1, done
    assert sorted(_states(slurm, done.err)) == ["COMPLETED", "FAILED"], done
    assert "Error in rule breaks:" in done.err
    assert "Error in rule works:" not in done.err
    place = slurm.place / "breaks"
    assert (place / "a.out").read_text() == "made\n"
    assert not (place / "b.out").exists(), "snakemake removes what a failed step has made"
    [log] = (place / ".snakemake/slurm_logs/rule_breaks").rglob("*.log")
    assert "it ended with 3\n" in log.read_text()


_CWL = f"""\
cwlVersion: v1.2
class: CommandLineTool
hints: {{DockerRequirement: {{dockerPull: "{BUSYBOX}"}}}}
baseCommand: [sh, -c, 'cat $1; hostname; touch made', sh]
inputs: {{file: {{type: File, inputBinding: {{}}}}}}
stdout: out.txt
outputs: {{out: stdout, made: {{type: File, outputBinding: {{glob: made}}}}}}
"""


def test_cwltool_in_a_script(slurm: Slurm) -> None:
    place = slurm.place / "cwl"
    place.mkdir()
    (place / "tool.cwl").write_text(_CWL)
    (place / "in.txt").write_text("data\n")
    script = f"""
        export PATH={shlex.quote(_path(slurm))}
        exec cwltool --udocker --disable-pull --outdir out tool.cwl --file in.txt
    """
    job = slurm.submit(script, f"--chdir={place}", "--output=log")
    assert slurm.end(job) == "COMPLETED", (place / "log").read_text()
    data, host = (place / "out/out.txt").read_text().splitlines()
    assert data == "data"
    assert re.fullmatch(r"node\d", host)
    assert (place / "out/made").read_bytes() == b""
