/* The setuid family against the rules of the kernel: setuid(2) and its neighbours, for all states.
 */
#include "harness.h"

#include "calls.h"

enum { IDS = 3 }; /* 0, 1 and 2; -1 leaves it as it is */

struct rule {
    long result;
    struct identity after;
};

static bool is_one_of(long id, long one, long two, long three) {
    return id == one || id == two || id == three;
}

/* What the kernel does, read from kernel/sys.c and the manual pages. */
static struct rule rule_set(struct identity now, bool may, long id) {
    struct rule rule = {0, now};
    if (id == -1) {
        return (struct rule){-EINVAL, now};
    }
    if (!may && id != now.real && id != now.saved) {
        return (struct rule){-EPERM, now};
    }
    if (may) {
        rule.after.real = rule.after.saved = (unsigned)id;
    }
    rule.after.effective = rule.after.filesystem = (unsigned)id;
    return rule;
}

static struct rule rule_set_two(struct identity now, bool may, long real, long effective) {
    struct rule rule = {0, now};
    bool real_is_wrong = real != -1 && !may && real != now.real && real != now.effective;
    bool effective_is_wrong =
        effective != -1 && !may && !is_one_of(effective, now.real, now.effective, now.saved);
    if (real_is_wrong || effective_is_wrong) {
        return (struct rule){-EPERM, now};
    }
    if (real != -1) {
        rule.after.real = (unsigned)real;
    }
    if (effective != -1) {
        rule.after.effective = (unsigned)effective;
    }
    if (real != -1 || (effective != -1 && effective != now.real)) {
        rule.after.saved = rule.after.effective;
    }
    rule.after.filesystem = rule.after.effective;
    return rule;
}

static struct rule rule_set_three(struct identity now, bool may, const long *ids) {
    struct rule rule = {0, now};
    for (int index = 0; index < 3; index++) {
        if (ids[index] != -1 && !may &&
            !is_one_of(ids[index], now.real, now.effective, now.saved)) {
            return (struct rule){-EPERM, now};
        }
    }
    rule.after.real = ids[0] == -1 ? now.real : (unsigned)ids[0];
    rule.after.effective = ids[1] == -1 ? now.effective : (unsigned)ids[1];
    rule.after.saved = ids[2] == -1 ? now.saved : (unsigned)ids[2];
    rule.after.filesystem = rule.after.effective;
    return rule;
}

static struct rule rule_set_filesystem(struct identity now, bool may, long id) {
    struct rule rule = {now.filesystem, now};
    if (id != -1 &&
        (may || id == now.filesystem || is_one_of(id, now.real, now.effective, now.saved))) {
        rule.after.filesystem = (unsigned)id;
    }
    return rule;
}

static bool same(struct identity one, struct identity other) {
    return one.real == other.real && one.effective == other.effective && one.saved == other.saved &&
           one.filesystem == other.filesystem;
}

/* user or group: of a user the effective id tells what may be done, of a group that of the user. */
static void check_one(struct identity now, bool of_user, bool may, long number, const long *ids,
                      struct rule rule) {
    static struct process process;
    struct identity other = {7, 8, 9, 10};
    struct identity root = {may ? 0 : 7, may ? 0 : 8, 9, 10};
    process.persona.user = of_user ? now : root;
    process.persona.group = of_user ? other : now;
    process.persona.capabilities.effective = may ? ~(uint64_t)0 : 0;
    struct call call = {number, {ids[0], ids[1], ids[2]}};
    long result = calls_carry_out(&process, &call, NULL);
    bool good =
        result == rule.result &&
        same(of_user ? process.persona.user : process.persona.group, rule.after) &&
        same(of_user ? process.persona.group : process.persona.user, of_user ? other : root);
    if (!good) {
        printf("call %ld (%ld, %ld, %ld) from %u %u %u %u: %ld\n", number, ids[0], ids[1], ids[2],
               now.real, now.effective, now.saved, now.filesystem, result);
    }
    CHECK(good);
}

static void check_calls(struct identity now, bool of_user, bool may, const long *ids) {
    check_one(now, of_user, may, of_user ? NR_setresuid : NR_setresgid, ids,
              rule_set_three(now, may, ids));
    if (ids[2] != 0) {
        return;
    }
    check_one(now, of_user, may, of_user ? NR_setreuid : NR_setregid, ids,
              rule_set_two(now, may, ids[0], ids[1]));
    if (ids[1] != 0) {
        return;
    }
    check_one(now, of_user, may, of_user ? NR_setuid : NR_setgid, ids, rule_set(now, may, ids[0]));
    check_one(now, of_user, may, of_user ? NR_setfsuid : NR_setfsgid, ids,
              rule_set_filesystem(now, may, ids[0]));
}

static void check_state(struct identity now) {
    for (int what = 0; what < (IDS + 1) * (IDS + 1) * (IDS + 1); what++) {
        const long ids[6] = {what % (IDS + 1) - 1, what / (IDS + 1) % (IDS + 1) - 1,
                             what / (IDS + 1) / (IDS + 1) - 1};
        check_calls(now, true, now.effective == 0, ids);
        check_calls(now, false, false, ids);
        check_calls(now, false, true, ids);
    }
}

static void test_reading(void) {
    static struct process process;
    unsigned ids[3] = {9, 9, 9};
    process.persona.user = (struct identity){1, 2, 3, 4};
    process.persona.group = (struct identity){5, 6, 7, 8};
    struct call three = {NR_getresuid, {(long)&ids[0], (long)&ids[1], (long)&ids[2]}};
    CHECK_NUMBER(calls_carry_out(&process, &three, NULL), 0);
    CHECK(ids[0] == 1 && ids[1] == 2 && ids[2] == 3);
    three.number = NR_getresgid;
    CHECK_NUMBER(calls_carry_out(&process, &three, NULL), 0);
    CHECK(ids[0] == 5 && ids[1] == 6 && ids[2] == 7);
    three.argument[1] = (long)read_only_memory(4);
    CHECK_NUMBER(calls_carry_out(&process, &three, NULL), -EFAULT);
    three.argument[1] = 0;
    CHECK_NUMBER(calls_carry_out(&process, &three, NULL), -EFAULT);
    const long numbers[][2] = {{NR_getuid, 1}, {NR_geteuid, 2}, {NR_getgid, 5}, {NR_getegid, 6}};
    for (size_t index = 0; index < 4; index++) {
        struct call call = {numbers[index][0], {0}};
        CHECK_NUMBER(calls_carry_out(&process, &call, NULL), numbers[index][1]);
    }
}

int main(void) {
    for (unsigned state = 0; state < IDS * IDS * IDS * IDS; state++) {
        check_state((struct identity){state % IDS, state / IDS % IDS, state / IDS / IDS % IDS,
                                      state / IDS / IDS / IDS});
    }
    test_reading();
    return harness_end();
}
