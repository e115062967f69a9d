#include "threads.h"

enum { FIRST_ROOM = 64, PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22 };

static size_t place_of(const struct threads *threads, int id) {
    return ((unsigned)id * 2654435761U) & (threads->room - 1);
}

static size_t next_place(const struct threads *threads, size_t place) {
    return (place + 1) & (threads->room - 1);
}

struct thread *threads_find(const struct threads *threads, int id) {
    if (threads->room == 0) {
        return NULL;
    }
    size_t place = place_of(threads, id);
    while (threads->all[place].id != 0) {
        if (threads->all[place].id == id) {
            return &threads->all[place];
        }
        place = next_place(threads, place);
    }
    return NULL;
}

/* At the first free place: it is not there yet. */
static struct thread *put(struct threads *threads, const struct thread *thread) {
    size_t place = place_of(threads, thread->id);
    while (threads->all[place].id != 0) {
        place = next_place(threads, place);
    }
    threads->all[place] = *thread;
    threads->used++;
    return &threads->all[place];
}

static bool make_room(struct threads *threads) {
    if (threads->used * 2 < threads->room) {
        return true;
    }
    struct threads larger = {.room = threads->room == 0 ? FIRST_ROOM : threads->room * 2};
    long size = (long)(larger.room * sizeof(struct thread));
    long address = kernel(NR_mmap, 0, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (failed(address)) {
        return threads->used + 1 < threads->room; /* one place stays free: searches end there */
    }
    larger.all = (struct thread *)address;
    for (size_t index = 0; index < threads->room; index++) {
        if (threads->all[index].id != 0) {
            put(&larger, &threads->all[index]);
        }
    }
    if (threads->room != 0) {
        kernel(NR_munmap, (long)threads->all, (long)(threads->room * sizeof(struct thread)), 0, 0,
               0, 0);
    }
    *threads = larger;
    return true;
}

struct thread *threads_get(struct threads *threads, int id) {
    struct thread *found = threads_find(threads, id);
    if (found != NULL) {
        return found;
    }
    const struct thread thread = {.id = id};
    return make_room(threads) ? put(threads, &thread) : NULL;
}

void threads_remove(struct threads *threads, int id) {
    struct thread *found = threads_find(threads, id);
    if (found == NULL) {
        return;
    }
    found->id = 0;
    threads->used--;
    /* Those behind it may have been put there because this place was taken. */
    size_t place = next_place(threads, (size_t)(found - threads->all));
    while (threads->all[place].id != 0) {
        struct thread moved = threads->all[place];
        threads->all[place].id = 0;
        threads->used--;
        put(threads, &moved);
        place = next_place(threads, place);
    }
}
