/* Not written for this machine yet. */
#include "trace.h"

_Noreturn void tracer_run(const struct guest *guest, struct common *common, int ready) {
    (void)guest;
    (void)common;
    (void)ready;
    give_up(FAILED, "trace", "programs for " ARCH_NAME, -ENOSYS);
}
