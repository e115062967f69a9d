"""P1 and P2: what a tracer of our own must not change, and what it takes from programs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.engines import PATIENCE
from e2e.inprocess import COMPILE, Container
from udocker.engine import ptrace

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.conftest import Result

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines", "e2e.inprocess"]

traced = pytest.mark.parametrize("mode", ptrace.MODES, indirect=True)
filtered = pytest.mark.parametrize("mode", ["P1"], indirect=True)
_SAY = """
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
static void say(long result) {
    printf("%ld%s%s, ", result, result < 0 ? " " : "", result < 0 ? strerrorname_np(errno) : "");
    fflush(stdout);
}
"""

unfiltered = pytest.mark.parametrize("mode", ["P2"], indirect=True)


@traced
def test_programs_cannot_trace_one_another(compiled: Callable[..., Result]) -> None:
    """They are told so at once: none waits for a stop that never comes."""
    source = """
        #include <sys/ptrace.h>
        #include <sys/wait.h>
        #include <unistd.h>
        int main(void) {
            say(ptrace(PTRACE_TRACEME, 0, 0, 0));
            if (vfork() == 0) {
                _exit(ptrace(PTRACE_TRACEME, 0, 0, 0) == -1 && errno == EPERM ? 3 : 4);
            }
            int status;
            wait(&status);
            say(WEXITSTATUS(status));
            int child = fork();
            if (child == 0) {
                pause();
            }
            say(ptrace(PTRACE_SEIZE, child, 0, 0));
            say(ptrace(PTRACE_ATTACH, child, 0, 0));
            kill(child, 9);
            return 0;
        }
    """
    assert compiled(_SAY + source).out == "-1 EPERM, 3, -1 EPERM, -1 EPERM, "


@traced
def test_the_tracer_is_not_shown(mode: str, container: Container) -> None:
    assert container(mode, "grep TracerPid /proc/self/status").out == "TracerPid:\t0\n"


@unfiltered
def test_there_are_no_filters_where_every_call_stops(compiled: Callable[..., Result]) -> None:
    """As a kernel without them says it: what is carried out elsewhere a filter would not see."""
    source = """
        #include <linux/seccomp.h>
        #include <sys/prctl.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(void) {
            say(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, 0));
            say(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
            say(prctl(PR_GET_SECCOMP));
            return 0;
        }
    """
    assert compiled(_SAY + source).out == "-1 ENOSYS, -1 EINVAL, 0, "


@filtered
def test_a_call_that_only_the_filter_of_a_program_stops(compiled: Callable[..., Result]) -> None:
    """It has no tracer of its own: seccomp(2) says ENOSYS then."""
    source = """
        #include <stddef.h>
        #include <linux/filter.h>
        #include <linux/seccomp.h>
        #include <sys/prctl.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(void) {
            struct sock_filter filter[] = {
                {0x20, 0, 0, offsetof(struct seccomp_data, nr)},
                {0x15, 0, 1, SYS_getpriority},
                {6, 0, 0, SECCOMP_RET_TRACE | 7},
                {6, 0, 0, SECCOMP_RET_ALLOW},
            };
            struct sock_fprog program = {4, filter};
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            say(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
            say(syscall(SYS_getpriority, 0, 0));
            return 0;
        }
    """
    assert compiled(_SAY + source).out == "0, -1 ENOSYS, "


@traced
def test_a_child_stops_the_command_and_lets_it_go_on(mode: str, container: Container) -> None:
    """Who stops with the command must not be the tracer: the child would never go on."""
    script = """
        (kill -STOP $$; cat /etc/hostname >/dev/null; sleep 0.2; ls / >/dev/null; kill -CONT $$) &
        wait; echo after
    """
    assert container(mode, script).out == "after\n"


@traced
def test_the_start_stops_and_goes_on_with_the_command(mode: str, container: Container) -> None:
    words = container.words(mode, "kill -STOP $$; echo after")
    shared = container.shared
    with shared.start(words) as child:
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        child.send_signal(signal.SIGCONT)
        assert child.communicate(timeout=PATIENCE)[0] == b"after\n"
    assert child.returncode == 0


@traced
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_signals_reach_the_command_once(
    mode: str, number: signal.Signals, container: Container
) -> None:
    script = f"trap 'echo got' {number.name[3:]}; echo ready; n=0; " + (
        "while [ $n -lt 20 ]; do sleep 0.05; n=$((n+1)); done"
    )
    with container.shared.start(container.words(mode, script)) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(number)
        assert child.communicate(timeout=PATIENCE)[0] == b"got\n"


@traced
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_a_command_that_a_signal_ends(
    mode: str, number: signal.Signals, container: Container
) -> None:
    """As if it had taken udocker's place."""
    with container.shared.start(container.words(mode, f"kill -{number} $$")) as child:
        assert child.wait(PATIENCE) == -number


@traced
def test_a_pipe_ends_when_the_command_has_closed_it(mode: str, container: Container) -> None:
    """And not when udocker's processes end."""
    script = "echo one; exec >&- 2>&-; read line"
    with container.shared.start(container.words(mode, script)) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.read() == b"one\n"
        assert child.poll() is None
        child.stdin.write(b"\n")
        child.stdin.close()
        assert child.wait(PATIENCE) == 0


@traced
@pytest.mark.parametrize("which", ["the start", "the tracer"])
def test_nothing_outlives_the_tracer(mode: str, which: str, container: Container) -> None:
    script = "sleep 1234.5 & setsid sleep 1234.5 & echo ready; wait"
    with container.shared.start(container.words(mode, script)) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        inside = _descendants(child.pid)
        assert len(inside) >= 4  # the tracer, the shell, two of sleep
        os.kill(child.pid if which == "the start" else inside[0], signal.SIGKILL)
        child.wait(PATIENCE)
        _await_end(inside)


def _descendants(pid: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *_descendants(int(child))]
    return found


def _await_end(pids: list[int]) -> None:
    end = time.monotonic() + PATIENCE
    while any(_is_alive(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@traced
def test_threads_fork_and_execute_at_the_same_time(compiled: Callable[..., Result]) -> None:
    """What PRoot deadlocks on: children whose parent has not been seen to have them."""
    source = """
        #include <fcntl.h>
        #include <pthread.h>
        #include <spawn.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/stat.h>
        #include <sys/wait.h>
        #include <unistd.h>
        enum { THREADS = 8, ROUNDS = 25 };
        extern char **environ;
        static int once(int number) {
            int child = number % 3 == 0 ? fork() : number % 3 == 1 ? vfork() : 0;
            char *words[] = {"true", NULL};
            if (number % 3 == 2) {
                posix_spawnp(&child, "true", NULL, NULL, words, environ);
            } else if (child == 0) {
                execvp("true", words);
                _exit(9);
            }
            int status = -1;
            waitpid(child, &status, 0);
            return status;
        }
        static void *work(void *bad) {
            struct stat status;
            for (int number = 0; number < ROUNDS; number++) {
                *(int *)bad += once(number) != 0 || stat("/etc/passwd", &status) != 0;
            }
            return NULL;
        }
        int main(int count, char **words) {
            pthread_t threads[THREADS];
            int bad[THREADS] = {0}, all = 0;
            for (int number = 0; number < THREADS; number++) {
                pthread_create(&threads[number], NULL, work, &bad[number]);
            }
            for (int number = 0; number < THREADS; number++) {
                pthread_join(threads[number], NULL);
                all += bad[number];
            }
            printf("%d bad\\n", all);
            return 0;
        }
    """
    assert compiled(source, options="-pthread").out == "0 bad\n"


@traced
def test_a_thread_executes_while_others_fork(compiled: Callable[..., Result]) -> None:
    """The children of threads that execve(2) ends were told of by nobody."""
    source = """
        #include <pthread.h>
        #include <signal.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static void *breed(void *unused) {
            for (;;) {
                if (fork() == 0) {
                    _exit(access("/etc/passwd", F_OK));
                }
                while (waitpid(-1, NULL, WNOHANG) > 0) {
                }
            }
        }
        static void *execute(void *program) {
            char *words[] = {program, "again", NULL};
            usleep(2000);
            execv(program, words);
            return NULL;
        }
        int main(int count, char **words) {
            int rounds = getenv("ROUNDS") ? atoi(getenv("ROUNDS")) : 0;
            char text[16];
            if (rounds == 30) {
                puts("done");
                return 0;
            }
            snprintf(text, sizeof text, "%d", rounds + 1);
            setenv("ROUNDS", text, 1);
            pthread_t thread;
            pthread_create(&thread, NULL, breed, NULL);
            pthread_create(&thread, NULL, breed, NULL);
            pthread_create(&thread, NULL, execute, "/proc/self/exe");
            pause();
        }
    """
    assert compiled(source, options="-pthread").out == "done\n"


@pytest.mark.parametrize(
    ("mode", "count"), [("P1", 200), ("P2", 20)], indirect=["mode"], ids=["P1", "P2"]
)
def test_hundreds_of_threads_at_once(mode: str, count: int, container: Container) -> None:
    program = f"""
import os, threading
def work():
    for number in range(20):
        os.stat('/etc/passwd'); os.listdir('/etc')
threads = [threading.Thread(target=work) for number in range({count})]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(threads))
"""
    assert container(mode, f'python3 -c "{program}"').out == f"{count}\n"


@traced
def test_a_handler_jumps_out_of_a_call(compiled: Callable[..., Result]) -> None:
    """Out of the engine, which has no place of its own that would stay taken."""
    source = """
        #include <fcntl.h>
        #include <setjmp.h>
        #include <signal.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/stat.h>
        #include <sys/time.h>
        #include <unistd.h>
        static sigjmp_buf place;
        static void on_alarm(int signal) { siglongjmp(place, 1); }
        int main(void) {
            static char room[16384];
            stack_t stack = {.ss_sp = room, .ss_size = sizeof room};
            struct sigaction action = {.sa_handler = on_alarm};
            volatile int rounds = 0;
            sigaction(SIGALRM, &action, NULL);
            mkfifo("/tmp/fifo-that-nobody-writes", 0600);
            for (rounds = 0; rounds < 60; rounds++) {
                sigaltstack(rounds < 30 ? NULL : &stack, NULL);
                if (sigsetjmp(place, 1) == 0) {
                    struct itimerval soon = {.it_value = {0, 1000}};
                    setitimer(ITIMER_REAL, &soon, NULL);
                    open("/tmp/fifo-that-nobody-writes", O_RDONLY);
                    return 1;
                }
            }
            unlink("/tmp/fifo-that-nobody-writes");
            printf("%d\\n", rounds);
            return 0;
        }
    """
    assert compiled(source).out == "60\n"


@traced
def test_more_stacks_for_signals_than_one(mode: str, container: Container) -> None:
    """Each thread's own, which a child of fork(2) has too, and one of clone(2) has not."""
    script = COMPILE.format(options="", name="signal_stacks") + "/tmp/signal_stacks"
    assert container(mode, script).out == "right\n"


@traced
def test_what_may_not_be_read_is_traced_all_the_same(compiled: Callable[..., Result]) -> None:
    source = """
        #include <stdio.h>
        #include <sys/prctl.h>
        #include <sys/stat.h>
        int main(void) {
            struct stat status;
            printf("%d", prctl(PR_SET_DUMPABLE, 0));
            printf(" %d", stat("/etc/passwd", &status));
            printf(" %d\\n", stat("/no/such", &status));
            return 0;
        }
    """
    assert compiled(source).out == "0 0 -1\n"
