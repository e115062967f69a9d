"""The F modes: nothing of the host is reached, and the kernel's interface stays what it is.

``tests/e2e/programs`` are compiled in the container. What N1 says is right: there the kernel alone
answers.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.engines import BUSYBOX, SCI, Inside, Shared, command, need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.conftest import Result

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_MODES = ("F2", "F3")
_PROGRAMS = Path(__file__).parent / "programs"
_AUDIT = Path(__file__).resolve().parents[2] / "tools" / "audit-paths"
_COMPILE = "gcc -O1 -w -pthread {options} -o /tmp/{name} /w/{name}.c && "
_IN_NEW = "rm -rf /tmp/new && mkdir /tmp/new && cd /tmp/new && "

# What an ordinary user may not call, and what kernels of the day do not have.
_PRIVILEGED = frozenset(
    {"acct", "fspick", "mount", "mount_setattr", "open_tree", "open_tree_attr", "pivot_root"}
    | {"swapoff", "swapon", "umount2", "uselib"}
    | {"fchmodat2", "file_getattr", "getxattrat", "listxattrat", "removexattrat", "setxattrat"}
)


class Container:
    """A container with a compiler, and what is mounted at /w; run in any mode."""

    def __init__(self, shared: Shared, programs: Path) -> None:
        self.shared = shared
        self.programs = programs

    def __call__(
        self, mode: str, script: str, *options: str, check: bool = True, input: str = ""
    ) -> Result:
        words = self.words(mode, script, *options)
        return self.shared(*words, check=check, input=input)

    def direct(self, mode: str, *words: str) -> Result:
        """Without a shell."""
        return self.shared(*self.words(mode, "")[:-3], *words)

    def words(self, mode: str, script: str, *options: str) -> tuple[str, ...]:
        # A container that engines without unions have copied is one of its own from then on.
        name = f"inprocess-{'union' if mode == 'N1' else 'plain'}"
        if name not in {each for row in self.shared.containers() for each in row["names"]}:
            self.shared("create", "-q", f"--name={name}", self.shared.image(SCI))
        volume = f"{self.programs}:/w"
        run = ("run", "-q", f"--execmode={mode}", "-v", volume, *options)
        return (*run, name, "sh", "-c", script)


@pytest.fixture(scope="module")
def container(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Container:
    programs = tmp_path_factory.mktemp("programs")
    for source in _PROGRAMS.glob("*.*"):
        shutil.copy(source, programs)
    return Container(shared, programs)


@pytest.fixture(params=_MODES)
def mode(request: pytest.FixtureRequest, refusals: dict[str, str]) -> str:
    name: str = request.param
    need(refusals, name)
    return name


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that no container has; /dev is one of theirs."""
    if not str(tmp_path).startswith("/dev/"):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as path:
        yield Path(path)


@pytest.fixture
def native(refusals: dict[str, str]) -> str:
    """The mode that is right."""
    need(refusals, "N1")
    return "N1"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="host: the engine runs on x86_64")
def test_the_engine_works_where_there_are_seccomp_filters(refusals: dict[str, str]) -> None:
    """Or else all that follows would be skipped when it is broken."""
    assert Path("/proc/sys/kernel/seccomp/actions_avail").exists()
    assert {mode: refusals[mode] for mode in _MODES} == dict.fromkeys(_MODES, "")


# Nothing of the host


def _snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted((folder, *folder.rglob("*"))):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        times = (status.st_mtime_ns, status.st_ctime_ns)
        owner = (status.st_uid, status.st_gid)
        found[str(path)] = (status.st_mode, status.st_ino, status.st_nlink, owner, times, content)
    return found


def _hostile(options: str, directory: Path) -> str:
    build = _COMPILE.format(options=options, name="hostile")
    return f"{build}{_IN_NEW}/tmp/hostile {directory}"


def test_no_call_reaches_a_path_of_the_host(mode: str, container: Container, outside: Path) -> None:
    sentinel = outside / "sentinel"
    sentinel.mkdir()

    # Mounted, it is reached by all of them: each could.
    volume = ("-v", f"{sentinel}:{sentinel}")
    reached = container(mode, f"{_hostile('', sentinel)} control", *volume).out.splitlines()
    before = _snapshot(sentinel)
    assert len(before) > 5
    # What is left of it in the container is the place that it was mounted at.
    dynamic = container(mode, f"rmdir {sentinel}; {_hostile('', sentinel)}").out.splitlines()
    static = container(mode, _hostile("-static", sentinel)).out.splitlines()

    assert _snapshot(sentinel) == before
    assert dynamic == static == [reached[-1]]
    assert reached[-1].startswith("done ")
    source = (_PROGRAMS / "hostile.c").read_text()
    tried = set(re.findall(r"TRY(?:_OPEN)?\((\w+),", source)) - {"name"}
    names = {line.split(" ")[0] for line in reached}
    assert tried - names <= _PRIVILEGED
    assert {"execve", "execveat", "chdir", "openat", "statx", "connect", "rename_to"} <= names


def test_a_descriptor_of_a_host_directory_does_not_get_in(mode: str, container: Container) -> None:
    words = [*command(), *container.words(mode, "ls /proc/self/fd/; ls /proc/self/fd/9/ 2>&1")]
    outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        done = subprocess.run(
            ["sh", "-c", 'exec 9<"$0" && exec "$@"', "/", *words],
            env=container.shared.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(outside)
    assert "9" not in done.stdout.splitlines()
    assert "No such file" in done.stdout


_REAL_PROGRAMS = {
    "shell": "ls -la / /etc >/dev/null; for f in /etc/*; do test -r $f; done; cd /usr/../bin; pwd",
    "python": 'python3 -c \'import numpy, json, subprocess as s; s.run(["ls", "/"])\'',
    "gcc": "cd /tmp && echo 'int main(){}' >x.c && gcc -o x x.c && ./x && rm x x.c",
    "tar": "tar cf - /etc | tar tf - >/dev/null; find /usr/share/doc -maxdepth 2 >/dev/null",
    "files": "cd /tmp && mkdir -p a/b && ln -s b a/c && cp -a a d && mv d e && rm -r a e",
    "proc": "ls -l /proc/*/exe /proc/*/cwd /proc/*/root /proc/self/fd; readlink -f /proc/1/root",
    "perl": "perl -e 'print scalar(glob(q(/etc/*))), qx(echo x)'; bash -c 'cat <(echo x)'",
}


@pytest.mark.skipif(sys.platform != "linux", reason="host: no ptrace")
@pytest.mark.parametrize("script", _REAL_PROGRAMS.values(), ids=list(_REAL_PROGRAMS))
def test_the_kernel_sees_no_path_outside(
    mode: str, script: str, container: Container, tmp_path: Path
) -> None:
    pytest.importorskip("ptrace", reason="host: no python-ptrace")
    output = tmp_path / "findings"
    container(mode, "true")  # what is made once is made
    words = [*command(), *container.words(mode, script)]
    done = subprocess.run(
        [str(_AUDIT), f"--output={output}", "--", *words],
        env={**container.shared.environment(), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done
    assert output.read_text() == ""


def test_the_audit_sees_what_is_outside(mode: str, container: Container, outside: Path) -> None:
    """It looks through the eyes of the kernel: a link that the host changes meanwhile."""
    pytest.importorskip("ptrace", reason="host: no python-ptrace")
    output = outside / "findings"
    (outside / "volume").mkdir()
    (outside / "volume" / "place").mkdir()
    (outside / "secret").write_text("host")
    # That it is listed before lets the engine believe to know what directory it is.
    script = "cd /v/place && ls -l . >&2 && echo ready && read line && cat secret"
    words = [*command(), *container.words(mode, script, "-v", f"{outside}/volume:/v")]
    with subprocess.Popen(
        [str(_AUDIT), f"--output={output}", "--", *words],
        env={**container.shared.environment(), "PYTHON": sys.executable},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        # The directory where the program is goes away, out of the volume.
        (outside / "volume" / "place").rename(outside / "elsewhere")
        process.communicate("go\n", timeout=60)
    assert process.returncode == 1
    assert f"{outside}/elsewhere/secret" in output.read_text()


# The kernel's interface


def _behaviour(container: Container, mode: str, program: str) -> list[str]:
    return container(mode, _IN_NEW + program, check=False).out.splitlines()


def _compare(found: list[str], right: list[str]) -> None:
    assert len(right) > 300
    assert found == right


@pytest.mark.parametrize("options", ["", "-static"], ids=["dynamic", "static"])
def test_programs_behave_as_under_the_kernel(
    mode: str, native: str, options: str, container: Container
) -> None:
    build = _COMPILE.format(options=options, name="behave")
    found = _behaviour(container, mode, f"{build} /tmp/behave")
    _compare(found, _behaviour(container, native, f"{build} /tmp/behave"))


def test_programs_of_another_libc_behave_as_under_the_kernel(
    mode: str, native: str, container: Container
) -> None:
    compiler = shutil.which("musl-gcc")
    if compiler is None:
        pytest.skip("host: no musl-gcc")
    target = container.programs / "behave-musl"
    options = ["-static", "-O1", "-w", "-pthread", "-o", str(target)]
    subprocess.run([compiler, *options, str(_PROGRAMS / "behave.c")], check=True)
    run = "cp /w/behave-musl /tmp/behave && /tmp/behave"
    _compare(_behaviour(container, mode, run), _behaviour(container, native, run))


def test_processes_are_what_they_are_under_the_kernel(
    mode: str, native: str, container: Container
) -> None:
    run = _COMPILE.format(options="", name="process") + "/tmp/process"
    found = _behaviour(container, mode, run)
    right = _behaviour(container, native, run)
    assert len(right) > 300
    assert found == right


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
    script = _COMPILE.format(options="", name="mounts") + f"touch /tmp/new; /tmp/mounts {paths}"
    for each in (native, mode):
        assert (each, container(each, script, *volumes).out) == (each, "done\n")


def test_it_runs_on_a_volume_as_well(mode: str, native: str, container: Container) -> None:
    build = _COMPILE.format(options="", name="behave")
    run = "rm -rf /w/new && mkdir /w/new && cd /w/new && /tmp/behave paths gone sockets scripts"
    found = container(mode, build + run, check=False).out.splitlines()
    assert len(found) > 200
    assert found == container(native, build + run, check=False).out.splitlines()


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


# What others see


@pytest.fixture
def compiled(mode: str, container: Container) -> Callable[..., Result]:
    """Compiles a C program in the container and runs it."""

    def call(source: str, *words: str, options: str = "") -> Result:
        (container.programs / "small.c").write_text(source)
        build = f"gcc -w {options} -o /tmp/small /w/small.c && "
        return container(mode, f"{build} exec /tmp/small {' '.join(words)}", check=False)

    return call


def test_the_command_line_that_others_see(mode: str, container: Container) -> None:
    script = "sleep 100 & sleep 0.5; tr '\\0' ' ' </proc/$!/cmdline; cat /proc/$!/comm; kill $!"
    assert container(mode, script).out == "sleep 100 sleep\n"


def test_a_32_bit_call_is_refused(compiled: Callable[..., Result]) -> None:
    source = """
        #include <stdio.h>
        int main(void) {
            int result;
            __asm__ volatile("int $0x80" : "=a"(result) : "a"(20));
            printf("%d\\n", result);
            return 0;
        }
    """
    assert compiled(source).out == "-38\n"


@pytest.mark.parametrize(("kind", "machine"), [(1, 3), (2, 183)], ids=["i386", "aarch64"])
def test_a_program_of_another_machine_is_told(
    mode: str, kind: int, machine: int, container: Container
) -> None:
    header = b"\x7fELF" + bytes([kind, 1, 1]) + bytes(9) + bytes([2, 0, machine, 0]) + bytes(100)
    foreign = container.programs / "foreign"
    foreign.write_bytes(header)
    foreign.chmod(0o755)
    result = container(mode, "bash -c /w/foreign", check=False)
    assert result.code == 126
    assert "cannot execute binary file" in result.err


def test_a_fault_is_a_fault(mode: str, container: Container) -> None:
    assert container(mode, "sh -c 'kill -SEGV $$'", check=False).code == 139
    assert container(mode, "exec sh -c 'kill -SYS $$'", check=False).code == -31


def test_io_uring_is_refused(compiled: Callable[..., Result]) -> None:
    source = """
        #include <errno.h>
        #include <stdio.h>
        #include <unistd.h>
        int main(void) {
            char parameters[120] = {0};
            long result = syscall(425, 8, parameters);
            printf("%ld %d\\n", result, errno == ENOSYS);
            return 0;
        }
    """
    assert compiled(source).out == "-1 1\n"


def test_memory_without_the_working_directory(
    compiled: Callable[..., Result], container: Container
) -> None:
    """Where the one has a directory the other has a link, to what only the host has."""
    source = """
        #define _GNU_SOURCE
        #include <errno.h>
        #include <fcntl.h>
        #include <pthread.h>
        #include <sched.h>
        #include <signal.h>
        #include <stdio.h>
        #include <sys/stat.h>
        #include <sys/syscall.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static char stack[65536];
        static volatile int step, seen, seen_by_thread;
        static void await(int what) { while (step != what) sched_yield(); }
        static int look(void) {
            struct stat status;
            int last = -1;
            for (int count = 0; count < 3; count++)
                last = stat("d/small.c", &status) == 0 ? 0 : errno;
            return last;
        }
        static int move(void *nothing) {
            (void)nothing;
            chdir("../b");
            seen = look();
            step = 1;
            await(2);
            seen += look();
            _exit(0);
        }
        static void *borrow(void *nothing) {
            (void)nothing;
            clone(move, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, 0);
            seen_by_thread = look();
            return NULL;
        }
        int main(int count, char **words) {
            pthread_t thread;
            mkdir("/tmp/t", 0700);
            chdir("/tmp/t");
            mkdir("a", 0700);
            mkdir("b", 0700);
            mkdir("a/d", 0700);
            close(open("a/d/small.c", O_CREAT | O_WRONLY, 0600));
            symlink(words[1], "b/d");
            chdir("a");
            printf("alone %d", look());
            if (fork() == 0) {
                chdir("../b");
                _exit(look());
            }
            int status;
            wait(&status);
            printf(" fork %d %d", WEXITSTATUS(status), look());
            if (vfork() == 0) {
                chdir("../b");
                _exit(look());
            }
            wait(&status);
            printf(" vfork %d %d", WEXITSTATUS(status), look());
            fflush(stdout);
            if (words[2][0] == 't') {
                pthread_create(&thread, NULL, borrow, NULL);
                await(1);
                chdir("/tmp/t/a");
                int mine = look();
                step = 2;
                pthread_join(thread, NULL);
                printf(" thread %d %d %d", mine, seen, seen_by_thread);
            } else if (words[2][0] == 'm') {
                int child = clone(move, stack + sizeof stack, CLONE_VM | SIGCHLD, 0);
                await(1);
                chdir("/tmp/t/a");
                int mine = look();
                step = 2;
                waitpid(child, &status, 0);
                printf(" memory %d %d", mine, seen);
            } else {
                if (syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0) == 0) {
                    chdir("../b");
                    _exit(0);
                }
                wait(&status);
                printf(" directory %d", look());
            }
            return 0;
        }
    """
    told = {
        word: compiled(source, str(container.programs), word, options="-pthread").out
        for word in ("thread", "memory", "directory")
    }
    begin = "alone 0 fork 2 0 vfork 2 0"
    assert told == {
        "thread": f"{begin} thread 0 4 0",
        "memory": f"{begin} memory 0 4",
        "directory": f"{begin} directory 2",
    }


def test_new_namespaces_are_refused(mode: str, container: Container) -> None:
    result = container(mode, "unshare -U true; unshare -m true; echo", check=False)
    assert result.err.count("Operation not permitted") == 2


def test_ioctls_of_btrfs_that_name_subvolumes_are_refused(mode: str, container: Container) -> None:
    """Outside of btrfs, too: the descriptor is bad, and the kernel would say EBADF."""
    program = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for request in (0x50009401, 0x5000940e, 0x5000940f, 0x50009417, 0x50009418, 0x5000943f, 0x5413):
    libc.ioctl(-1, ctypes.c_ulong(request), 0)
    print(os.strerror(ctypes.get_errno()))
"""
    shown = container(mode, f"python3 -c '{program}'").out.splitlines()
    assert shown == ["Inappropriate ioctl for device"] * 6 + ["Bad file descriptor"]


def test_a_program_with_a_filter_of_its_own_runs(compiled: Callable[..., Result]) -> None:
    source = """
        #include <errno.h>
        #include <fcntl.h>
        #include <linux/filter.h>
        #include <linux/seccomp.h>
        #include <stdio.h>
        #include <sys/prctl.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(void) {
            struct sock_filter kill[] = {{6, 0, 0, SECCOMP_RET_ALLOW}};
            struct sock_fprog program = {1, kill};
            printf("%d", prctl(PR_GET_SECCOMP));
            printf(" %d", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
            printf(" %ld", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
            printf(" %d", prctl(PR_GET_SECCOMP));
            printf(" %ld", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 0));
            printf(" %d", errno == EFAULT);
            printf(" %d\\n", open("/etc/passwd", O_RDONLY) > 0);
            return 0;
        }
    """
    assert compiled(source).out == "0 0 0 2 -1 1 1\n"


def test_nothing_runs_out_in_a_long_life(compiled: Callable[..., Result]) -> None:
    """A thousand children of vfork(2), and threads that end in the middle of calls."""
    source = """
        #include <pthread.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static long resident(void) {
            char line[200];
            long size = 0;
            FILE *file = fopen("/proc/self/status", "r");
            while (fgets(line, sizeof line, file) != NULL) {
                sscanf(line, "VmSize: %ld", &size);
            }
            fclose(file);
            return size;
        }
        static void spawn(int count) {
            static char *words[1200];
            for (int index = 0; index < 1199; index++) {
                words[index] = "true";
            }
            for (; count > 0; count--) {
                pid_t child = vfork();
                if (child == 0) {
                    execv("/bin/true", words);
                    _exit(1);
                }
                waitpid(child, NULL, 0);
            }
        }
        int main(void) {
            spawn(20);
            long before = resident();
            spawn(500);
            printf("%d\\n", resident() - before < 200);
            return 0;
        }
    """
    assert compiled(source).out == "1\n"


# Patched places


def test_goroutines_have_hardly_any_stack(container: Container, works: tuple[str, ...]) -> None:
    if "F3" not in works:
        pytest.skip("host: mode F3 does not work here")
    container("F3", _COMPILE.format(options="-static", name="small_stack") + "true")
    # Copies are made before a program begins: of the one that is run, too.
    once = container.direct("F3", "/tmp/small_stack", "once")
    assert once.out == "right\n"
    assert container.direct("F3", "/tmp/small_stack").out == "right\n"


def test_a_library_that_is_replaced_works_at_once(mode: str, container: Container) -> None:
    script = """
        cat /etc/hostname > /dev/null
        for library in libc.so.6 ld-linux-x86-64.so.2; do
            path=$(readlink -f /lib/x86_64-linux-gnu/$library)
            cp -p $path $path.new && touch $path.new && mv $path.new $path
        done
        sha256sum /etc/passwd; python3 -c 'print(open("/etc/passwd").readline(), end="")'
    """
    first = container(mode, script).out
    assert first.endswith("/etc/passwd\nroot:x:0:0:root:/root:/bin/bash\n")
    assert container(mode, script).out == first


def test_copies_that_were_cut_off_are_not_used(
    container: Container, works: tuple[str, ...]
) -> None:
    if "F3" not in works:
        pytest.skip("host: mode F3 does not work here")
    run = ("F3", "ls -d /etc/passwd; python3 -c 'print(1)'")
    first = container(*run).out
    copies = [p for p in (container.shared.store / "patched").rglob("*") if p.is_file()]
    assert copies
    kept = {path: path.read_bytes() for path in copies if not path.is_symlink()}
    try:
        for path, content in kept.items():
            path.chmod(0o700)
            path.write_bytes(content[: len(content) // 2])
        assert container(*run).out == first
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
