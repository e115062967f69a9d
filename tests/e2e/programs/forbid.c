/*
 * forbid PROGRAM ARGUMENT...: run PROGRAM as container hosts and hardened machines run theirs: no
 * namespaces, no mounts, no tracing. clone3(2) is unknown there, for a filter cannot see its flags.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NEW_NAMESPACES = 0x7e020080 }; /* CLONE_NEW* of clone(2) */

#define CALL(number, error)                                                                        \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),                                             \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))

static struct sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    CALL(__NR_unshare, EPERM),
    CALL(__NR_setns, EPERM),
    CALL(__NR_ptrace, EPERM),
    CALL(__NR_process_vm_readv, EPERM),
    CALL(__NR_process_vm_writev, EPERM),
    CALL(__NR_kcmp, EPERM),
    CALL(__NR_mount, EPERM),
    CALL(__NR_umount2, EPERM),
    CALL(__NR_pivot_root, EPERM),
    CALL(__NR_open_tree, EPERM),
    CALL(__NR_move_mount, EPERM),
    CALL(__NR_fsopen, EPERM),
    CALL(__NR_open_by_handle_at, EPERM),
    CALL(__NR_bpf, EPERM),
    CALL(__NR_perf_event_open, EPERM),
    CALL(__NR_userfaultfd, EPERM),
    CALL(__NR_add_key, EPERM),
    CALL(__NR_keyctl, EPERM),
    CALL(__NR_request_key, EPERM),
    CALL(__NR_io_uring_setup, EPERM),
    CALL(__NR_clone3, ENOSYS),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone, 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NEW_NAMESPACES, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

int main(int argc, char **argv) {
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    if (argc < 2) {
        fprintf(stderr, "usage: forbid PROGRAM ARGUMENT...\n");
        return 2;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("forbid: seccomp");
        return 125;
    }
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 127;
}
