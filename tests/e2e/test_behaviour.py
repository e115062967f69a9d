"""The F modes: the kernel's interface stays what it is.

``tests/e2e/programs`` are compiled in the container. What N1 says is right: there the kernel alone
answers.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.engines import BUSYBOX, Inside, Shared
from e2e.inprocess import COMPILE, IN_NEW, MODES, PROGRAMS, Container

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines", "e2e.inprocess"]


# Those of the first row say the same with each libc, and with none beside them.
_WITH_ANY_LIBC = ("paths", "execute", "signals", "sockets", "proc")
_OTHERS = ("sigsys", "filters", "self", "stacks", "waiting", "trace")
_ALL = (*MODES, "P2")  # where every call stops, all else takes long, and is the same
# What a tracer takes from programs: tests/e2e/test_tracer.py has what they see instead.
_TAKEN = {("P1", "trace"), ("P2", "trace"), ("P2", "filters")}


def _sections(program: str) -> list[str]:
    return re.findall(r'{"(\w+)", section_', (PROGRAMS / f"{program}.c").read_text())


def _compare(container: Container, mode: str, native: str, program: str, script: str) -> None:
    """That the program says the same in both modes, and comes to the end of its sections."""
    right = container(native, IN_NEW + script, check=False).out.splitlines()
    shown = [line.split(" ")[1] for line in right if line.startswith("== ")]
    assert shown == _sections(program) != []
    assert right[-1] == "section: exit 0"
    assert container(mode, IN_NEW + script, check=False).out.splitlines() == right


@pytest.mark.parametrize("options", ["", "-static"], ids=["dynamic", "static"])
@pytest.mark.parametrize("program", _WITH_ANY_LIBC)
@pytest.mark.parametrize("mode", _ALL, indirect=True)
def test_programs_behave_as_under_the_kernel(
    mode: str, native: str, program: str, options: str, container: Container
) -> None:
    script = COMPILE.format(options=options, name=program) + f"/tmp/{program}"
    _compare(container, mode, native, program, script)


@pytest.mark.parametrize("program", _WITH_ANY_LIBC)
def test_programs_of_another_libc_behave_as_under_the_kernel(
    mode: str, native: str, program: str, container: Container
) -> None:
    compiler = shutil.which("musl-gcc")
    if compiler is None:
        pytest.skip("host: no musl-gcc")
    target = container.programs / f"{program}-musl"
    options = ["-static", "-O1", "-w", "-pthread", "-o", str(target)]
    subprocess.run([compiler, *options, str(PROGRAMS / f"{program}.c")], check=True)
    script = f"cp /w/{target.name} /tmp/{program} && /tmp/{program}"
    _compare(container, mode, native, program, script)


@pytest.mark.parametrize(
    ("mode", "program"),
    [(mode, program) for mode in _ALL for program in _OTHERS if (mode, program) not in _TAKEN],
    indirect=["mode"],
)
def test_processes_are_what_they_are_under_the_kernel(
    mode: str, native: str, program: str, container: Container
) -> None:
    script = COMPILE.format(options="", name=program) + f"/tmp/{program}"
    _compare(container, mode, native, program, script)


_LINKED = {
    "usual": "",
    "static": "-static",
    "static-pie": "-static-pie",
    "no-pie": "-no-pie",
    "low": "-no-pie -Wl,-Ttext-segment=0x10000",
    "large-pages": "-Wl,-z,max-page-size=0x200000",
    "one-segment": "-Wl,-z,noseparate-code -Wl,-z,norelro",
    "stack": "-z execstack",
    "now": "-Wl,-z,now -Wl,-z,separate-code",
    "relative": "-Wl,--dynamic-linker=loader",
    "missing": "-Wl,--dynamic-linker=/no/such/loader",
    "no-loader": "-Wl,--dynamic-linker=/etc/passwd",
}
_BARE = "gcc -w -nostdlib -static -no-pie -o /tmp/bare {options} /w/bare.c && /tmp/bare; echo $?; "
_BARE_LINKED = ("", "-Wl,-Ttext-segment=0x7000000000", "-Wl,-N", "-Wl,-Ttext-segment=0x10000")


def test_programs_are_loaded_however_they_are_linked(
    mode: str, native: str, container: Container
) -> None:
    script = "cd /tmp && cp -L /lib64/ld-linux-x86-64.so.2 loader\n"
    for name, options in _LINKED.items():
        script += (
            f"gcc -w -O1 {options} -o l-{name} /w/loaded.c 2>/dev/null; "
            f"echo {name}; ./l-{name} a; echo $?\n"
        )
    script += "".join(_BARE.format(options=options) for options in _BARE_LINKED)
    found = container(mode, script, check=False)
    right = container(native, script, check=False)
    assert found.out == right.out
    assert found.out.count("2 words, 0, data, constant") == len(_LINKED) - 2
    assert found.out.endswith("27\n" * len(_BARE_LINKED))


def test_a_program_where_the_engine_is_does_not_start(mode: str, container: Container) -> None:
    script = _BARE.format(options="-Wl,-Ttext-segment=0x550000000000")
    result = container(mode, script, check=False)
    assert result.out == "126\n"
    assert result.err.startswith("udocker: cannot load /tmp/bare: it is made for a place")


@pytest.mark.parametrize("other", ["rw", "ro"])
@pytest.mark.parametrize("place", ["/tmp/deep", "/v/deep"])
def test_directories_have_longer_paths_than_a_path_may_be(
    mode: str, place: str, other: str, native: str, container: Container, outside: Path
) -> None:
    """In the union, and on a volume; and where each path is looked at, since one is read-only."""
    (outside / "other").mkdir()
    volumes = ("-v", f"{outside}:/v", "-v", f"{outside}/other:/other:{other}")
    script = f"python3 /w/deep.py {place}"
    expected = container(native, script, *volumes).out
    assert expected.startswith("6030\n")
    assert expected.endswith("\nFalse\n")
    assert container(mode, script, *volumes).out == expected


def test_read_only_volumes_are_so_at_any_depth(
    mode: str, native: str, container: Container, outside: Path
) -> None:
    make = "import os\nfor _ in range(30): os.mkdir('d' * 200), os.chdir('d' * 200)\n"
    make += "open('file', 'w').write('deep')"
    subprocess.run([sys.executable, "-c", make], cwd=outside, check=True)
    script = "python3 /w/deep_readonly.py /v"
    expected = container(native, script, "-v", f"{outside}:/v:ro").out
    assert "works" not in expected
    assert container(mode, script, "-v", f"{outside}:/v:ro").out == expected
    shutil.rmtree(outside / ("d" * 200))


def test_mounts_have_the_numbers_that_mountinfo_has(
    mode: str, native: str, container: Container, outside: Path
) -> None:
    """Mounts of the host, what is mounted below them, and files of both layers of the union."""
    (outside / "v").mkdir()
    (outside / "v/file").touch()
    (outside / "other").touch()
    volumes = ("-v", f"{outside}/v:/v", "-v", f"{outside}/other:/v2/file:ro")
    paths = "/ /etc /etc/hosts /etc/passwd /usr/bin/env /tmp /tmp/new /v /v/file /v2 /v2/file"
    paths += " /proc /proc/self/status /dev /dev/null /dev/pts /dev/shm /sys /sys/fs/cgroup"
    script = COMPILE.format(options="", name="mounts") + f"touch /tmp/new; /tmp/mounts {paths}"
    for each in (native, mode):
        assert (each, container(each, script, *volumes).out) == (each, "done\n")


_ON_A_VOLUME = {"paths": ("paths", "gone"), "sockets": ("sockets",), "execute": ("scripts",)}


@pytest.mark.parametrize("program", _ON_A_VOLUME)
def test_it_runs_on_a_volume_as_well(
    mode: str, native: str, program: str, container: Container
) -> None:
    words = " ".join(_ON_A_VOLUME[program])
    script = COMPILE.format(options="", name=program)
    script += f"rm -rf /w/new && mkdir /w/new && cd /w/new && /tmp/{program} {words}"
    right = container(native, script, check=False).out.splitlines()
    assert right[-1] == "section: exit 0"
    assert len(right) > 20
    assert container(mode, script, check=False).out.splitlines() == right


_PYTHON = r"""
import asyncio, concurrent.futures, multiprocessing, os, signal, subprocess, sys, tempfile

def square(number):
    return number * number

def stats():
    return sum(os.stat("/etc/../etc/passwd").st_size > 0 for _ in range(500))

async def many():
    started = [await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1) for _ in range(5)]
    return [(await each.communicate(b"%d" % n))[0] for n, each in enumerate(started)]

if __name__ == "__main__":
    with multiprocessing.Pool(3) as pool:
        print(pool.map(square, range(10)))
    with multiprocessing.Manager() as manager:
        shared = manager.dict(a=1)
        print(dict(shared))
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=queue.put, args=(method,))
        process.start()
        print(queue.get(), process.join())
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        print(sum(future.result() for future in [threads.submit(stats) for _ in range(32)]))
    print(asyncio.run(many()))
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    print(subprocess.run("echo $0; ls /proc/self/exe", shell=True, capture_output=True).stdout)
    print(os.path.realpath("/proc/self/exe") == os.path.realpath(sys.executable))
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        print(os.getcwd() == os.path.realpath(directory), os.listdir("."))
        with open("f", "w") as stream:
            stream.write("x")
        print([entry.stat().st_size for entry in os.scandir(".")])
"""


def test_python_starts_processes_and_threads(
    mode: str, native: str, container: Container, tmp_path: Path
) -> None:
    (container.programs / "many.py").write_text(_PYTHON)
    found = container(mode, "python3 /w/many.py")
    right = container(native, "python3 /w/many.py")
    assert found.out == right.out
    assert found.out.count("\n") == 11
    assert found.err == right.err


_SHELL = r"""
set -e
cd /tmp && rm -rf shell && mkdir shell && cd shell
printf '%s\n' one two three >file
while read line; do echo "$line" | sed 's/o/0/g'; done <file
for i in $(seq 20); do (cd / && ls | wc -l) >/dev/null; done
cat <<END | tr a-z A-Z
here
END
mkdir -p a/b/c && ln -s ../b a/b/up && ls a/b/up/c && cp -a a d && diff -r a d && rm -r a
find d | sort
trap 'echo trapped' USR1; kill -USR1 $$
(exit 7) || echo $?
sh -c 'kill -SEGV $$' || echo $?
test -L d/b/up && readlink d/b/up
chmod 640 file && stat -c '%a %U %s' file
ls -la /proc/self/cwd | sed 's/.*-> //'
tar cf - d | tar xf - -C / && rm -r /d
echo done
"""


def test_a_shell_script_says_the_same(mode: str, native: str, container: Container) -> None:
    (container.programs / "script.sh").write_text(_SHELL)
    for shell in ("dash", "bash"):
        found = container(mode, f"{shell} /w/script.sh")
        assert found.out == container(native, f"{shell} /w/script.sh").out
        assert found.out.endswith("done\n")


def test_busybox_says_the_same(native: str, mode: str, shared: Shared) -> None:
    applets = "mkdir -p t/u; ln -s u t/v; find t; ls -l /bin/sh; du t; stat -c %a t; tar c t|tar t"
    outputs = [
        Inside(shared, each)("sh", "-c", f"cd /tmp; {applets}; pwd", image=BUSYBOX).out
        for each in (mode, native)
    ]
    assert outputs[0] == outputs[1]


def test_an_archive_of_the_whole_tree_is_the_same(
    mode: str, native: str, container: Container
) -> None:
    # Under the kernel everything is the user's, and nothing gives rights.
    same = "--sort=name --numeric-owner --owner=0 --group=0 --mode=ug-s"
    script = f"tar cf - {same} /usr/share /etc/init.d /usr/bin | sha256sum"
    assert container(mode, script).out == container(native, script).out
