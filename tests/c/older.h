/* The calls of table_legacy.def that tests make, on architectures that have them in newer form. */
#ifndef OLDER_H
#define OLDER_H

#include "base.h"

#ifdef ARCH_HAS_LEGACY

static inline void older_to_newer(struct call *call) {
    (void)call;
}

#else

enum {
    NR_access = 200000,
    NR_chmod,
    NR_chown,
    NR_link,
    NR_mkdir,
    NR_mknod,
    NR_readlink,
    NR_rename,
    NR_rmdir,
    NR_symlink,
    NR_unlink,
};

static inline void older_to_newer(struct call *call) {
    const long a = call->argument[0];
    const long b = call->argument[1];
    const long c = call->argument[2];
    switch (call->number) {
    case NR_access:
        *call = (struct call){NR_faccessat, {AT_FDCWD, a, b}};
        break;
    case NR_chmod:
        *call = (struct call){NR_fchmodat, {AT_FDCWD, a, b}};
        break;
    case NR_chown:
        *call = (struct call){NR_fchownat, {AT_FDCWD, a, b, c}};
        break;
    case NR_link:
        *call = (struct call){NR_linkat, {AT_FDCWD, a, AT_FDCWD, b}};
        break;
    case NR_mkdir:
        *call = (struct call){NR_mkdirat, {AT_FDCWD, a, b}};
        break;
    case NR_mknod:
        *call = (struct call){NR_mknodat, {AT_FDCWD, a, b, c}};
        break;
    case NR_readlink:
        *call = (struct call){NR_readlinkat, {AT_FDCWD, a, b, c}};
        break;
    case NR_rename:
        *call = (struct call){NR_renameat, {AT_FDCWD, a, AT_FDCWD, b}};
        break;
    case NR_rmdir:
        *call = (struct call){NR_unlinkat, {AT_FDCWD, a, AT_REMOVEDIR}};
        break;
    case NR_symlink:
        *call = (struct call){NR_symlinkat, {a, AT_FDCWD, b}};
        break;
    case NR_unlink:
        *call = (struct call){NR_unlinkat, {AT_FDCWD, a}};
        break;
    default:
        break;
    }
}

#endif
#endif
