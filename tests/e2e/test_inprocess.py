"""The F modes: what others see of a program, what is refused, and places that are patched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.inprocess import COMPILE, Container

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.conftest import Result

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines", "e2e.inprocess"]


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


@pytest.mark.parametrize("mode", ["F3", "P1"], indirect=True)
def test_goroutines_have_hardly_any_stack(mode: str, container: Container) -> None:
    container(mode, COMPILE.format(options="-static", name="small_stack") + "true")
    # Copies are made before a program begins: of the one that is run, too.
    once = container.direct(mode, "/tmp/small_stack", "once")
    assert once.out == "right\n"
    assert container.direct(mode, "/tmp/small_stack").out == "right\n"


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
