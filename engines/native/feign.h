/*
 * Root of a user namespace with one user id and one group id, for programs that expect more.
 *
 * Package managers, tar and useradd give files and processes other ids, and make devices, which the
 * kernel refuses where the ids are not mapped. A seccomp filter answers such calls with success,
 * and nothing is done or remembered: files stay root's, and who becomes another user stays root.
 * The filter sees numbers only, so a feigned chown(2) of a missing file succeeds too. What the
 * kernel can do it does: chown(2) to ids that are mapped, and whiteouts (the device 0:0), which
 * anybody may make. All other calls are passed by number alone, which since Linux 5.11 is looked
 * up and costs next to nothing.
 *
 * Not here: setfsuid(2) and setfsgid(2), which tell of no failure; capset(2) and the attribute
 * security.capability, which root of a user namespace may really use.
 */
#ifndef UDOCKER_FEIGN_H
#define UDOCKER_FEIGN_H

/*
 * Install the filter in this process, and so in all that come of it. The user is 0, and group the
 * one that is mapped. Needs CAP_SYS_ADMIN in this user namespace, and sets no_new_privs for nobody.
 * 0, or -1 with errno set.
 */
int udocker_feign_ids(unsigned group);

/*
 * The same filter, for a look at it: of x86_64 and i386, or (is_arm) of aarch64 and arm. Gives the
 * number of instructions (struct sock_filter) written; -1 where there is no room for all.
 */
int udocker_feigning(int is_arm, unsigned group, char *instructions, unsigned room);

#endif
