/* SCM_CREDENTIALS, unix(7): the kernel lets only its own ids be sent, and tells only those. */
#include "own.h"

enum { SOL_SOCKET = 1, SCM_CREDENTIALS = 2, ALIGNED = sizeof(size_t) };

/* struct cmsghdr, and what is in it. */
struct control {
    size_t size;
    int level, type;
    struct credentials credentials;
};

enum { HEAD = sizeof(size_t) + 2 * sizeof(int) };

static struct credentials *find(void *control, size_t size) {
    char *at = control;
    if (control == NULL || !memory_is_there(control, size)) {
        return NULL;
    }
    while (size >= HEAD + sizeof(struct credentials)) {
        struct control *one = (struct control *)(void *)at;
        if (one->level == SOL_SOCKET && one->type == SCM_CREDENTIALS &&
            one->size == HEAD + sizeof one->credentials) {
            return &one->credentials;
        }
        size_t step = (one->size + ALIGNED - 1) & ~(size_t)(ALIGNED - 1);
        if (one->size < HEAD || step < one->size || step > size) {
            break;
        }
        at += step;
        size -= step;
    }
    return NULL;
}

static bool may_claim(const struct persona *persona, const struct identity *identity, unsigned id) {
    return id == identity->real || id == identity->effective || id == identity->saved ||
           persona_can(persona, identity == &persona->user ? CAP_SETUID : CAP_SETGID);
}

void tell_peer(struct process *process) {
    const struct persona *persona = persona_of(process);
    unsigned pid = (unsigned)kernel(NR_getpid, 0, 0, 0, 0, 0, 0);
    owners_tell_peer(&process->guest, pid, persona->user.effective, persona->group.effective);
}

long credentials_out(struct process *process, void *control, size_t size, struct claim *claim) {
    const struct persona *persona = persona_of(process);
    claim->place = find(control, size);
    if (claim->place == NULL) {
        return 0;
    }
    claim->kept = *claim->place;
    if (!may_claim(persona, &persona->user, claim->kept.uid) ||
        !may_claim(persona, &persona->group, claim->kept.gid)) {
        claim->place = NULL;
        return -EPERM;
    }
    if (!memory_is_writable(claim->place, sizeof claim->kept)) {
        claim->place = NULL;
        return 0;
    }
    tell_peer(process);
    claim->place->uid = process->guest.host_uid;
    claim->place->gid = process->guest.host_gid;
    return 0;
}

void credentials_back(const struct claim *claim) {
    if (claim->place != NULL) {
        *claim->place = claim->kept;
    }
}

void credentials_show(const struct guest *guest, struct credentials *peer) {
    bool is_user = peer->uid == guest->host_uid;
    if (!is_user || !owners_find_peer(guest, (unsigned)peer->pid, &peer->uid, &peer->gid)) {
        peer->uid = is_user ? guest->uid : peer->uid;
        peer->gid = peer->gid == guest->host_gid ? guest->gid : peer->gid;
    }
}

void credentials_in(const struct guest *guest, void *control, size_t size) {
    struct credentials *found = find(control, size);
    if (found != NULL) {
        credentials_show(guest, found);
    }
}
