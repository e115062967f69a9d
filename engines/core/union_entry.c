/* Changes of entries of the host, as a union makes them. */
#include "union_entry.h"

enum { RENAME_EXCHANGE = 2 };

long make_whiteout(const char *host) {
    return kernel(NR_mknodat, AT_FDCWD, (long)host, S_IFCHR, 0, 0, 0);
}

long rename_host(const char *from, const char *to, long flags) {
    return flags == 0 ? kernel(NR_renameat, AT_FDCWD, (long)from, AT_FDCWD, (long)to, 0, 0)
                      : kernel(NR_renameat2, AT_FDCWD, (long)from, AT_FDCWD, (long)to, flags, 0);
}

bool is_refused(long result) {
    return result == -EINVAL || result == -ENOSYS || result == -EPERM;
}

void remove_host(const char *host, bool is_directory) {
    kernel(NR_unlinkat, AT_FDCWD, (long)host, is_directory ? AT_REMOVEDIR : 0, 0, 0, 0);
}

/* A directory at from takes the place of the whiteout at to, which then is gone. */
long over_whiteout(const char *from, const char *to) {
    long result = rename_host(from, to, RENAME_EXCHANGE);
    if (result == 0) {
        remove_host(from, false);
    } else if (is_refused(result)) {
        remove_host(to, false);
        result = rename_host(from, to, 0);
    }
    return result;
}
