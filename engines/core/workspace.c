#include "calls.h"

/*
 * A pool, because a signal handler may come between and threads come together; and no stack, since
 * some programs give a thread a few KiB only. What a killed thread held stays taken.
 */
enum { POOL = 16, PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22 };

static struct workspace pool[POOL];
static bool taken[POOL];

struct workspace *workspace_take(void) {
    for (size_t index = 0; index < POOL; index++) {
        if (!__atomic_test_and_set(&taken[index], __ATOMIC_ACQUIRE)) {
            return &pool[index];
        }
    }
    long address =
        kernel(NR_mmap, 0, sizeof(struct workspace), PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    return failed(address) ? NULL : (struct workspace *)address;
}

static void let_go(int *held) {
    if (*held > 0) {
        kernel(NR_close, *held - 1, 0, 0, 0, 0, 0);
        *held = 0;
    }
}

void workspace_hold(struct workspace *space, long descriptor) {
    let_go(&space->held[1]);
    space->held[1] = space->held[0];
    space->held[0] = (int)descriptor + 1;
}

void workspace_let_go(struct workspace *space) {
    let_go(&space->held[0]);
    let_go(&space->held[1]);
}

void workspace_give_back(struct workspace *space) {
    workspace_let_go(space);
    if (space >= pool && space < pool + POOL) {
        __atomic_clear(&taken[space - pool], __ATOMIC_RELEASE);
    } else {
        kernel(NR_munmap, (long)space, sizeof *space, 0, 0, 0, 0);
    }
}
