#include "memory.h"

enum { PAGE = 4096, WORD = 8, GRND_NONBLOCK = 1, KNOWN = 64 };

static uintptr_t known[KNOWN]; /* numbers of pages, each at the place that its last bits say */

/*
 * rt_sigprocmask(2) with an operation that does not exist reads the set first: EFAULT tells that it
 * cannot, EINVAL that it could. A null pointer it would take for no set; nothing is in that page.
 */
static bool word_is_there(uintptr_t address) {
    return address >= PAGE &&
           kernel(NR_rt_sigprocmask, -1, (long)address, 0, WORD, 0, 0) != -EFAULT;
}

bool memory_is_there(const void *address, size_t size) {
    if (size == 0) {
        return true;
    }
    uintptr_t first = (uintptr_t)address & ~(uintptr_t)(WORD - 1);
    uintptr_t last = ((uintptr_t)address + size - 1) & ~(uintptr_t)(WORD - 1);
    if (last < first) {
        return false;
    }
    for (uintptr_t page = first; page < last; page = (page & ~(uintptr_t)(PAGE - 1)) + PAGE) {
        if (!word_is_there(page)) {
            return false;
        }
    }
    return word_is_there(last);
}

bool page_is_there(const char *address) {
    uintptr_t page = (uintptr_t)address / PAGE;
    uintptr_t *place = &known[page % KNOWN];
    if (page != 0 && __atomic_load_n(place, __ATOMIC_RELAXED) == page) {
        return true;
    }
    if (!word_is_there((uintptr_t)address & ~(uintptr_t)(WORD - 1))) {
        return false;
    }
    __atomic_store_n(place, page, __ATOMIC_RELAXED);
    return true;
}

/* getrandom(2) writes a byte, or says that it cannot; what was there comes back. */
static bool byte_is_writable(char *address) {
    char before = *address;
    if (kernel(NR_getrandom, (long)address, 1, GRND_NONBLOCK, 0, 0, 0) == -EFAULT) {
        return false;
    }
    *(volatile char *)address = before;
    return true;
}

bool memory_is_writable(void *address, size_t size) {
    if (!memory_is_there(address, size)) {
        return false;
    }
    char *last = (char *)address + size - 1;
    for (char *byte = address; size > 0 && byte <= last;
         byte = (char *)(((uintptr_t)byte & ~(uintptr_t)(PAGE - 1)) + PAGE)) {
        if (!byte_is_writable(byte)) {
            return false;
        }
    }
    return true;
}

long path_copy(char *text, const char *guest_text) {
    uintptr_t address = (uintptr_t)guest_text;
    for (size_t size = 0; size < PATH_SIZE; size++, address++) {
        bool is_new_page = size == 0 || address % PAGE == 0;
        if (is_new_page && !page_is_there(guest_text + size)) {
            return -EFAULT;
        }
        text[size] = guest_text[size];
        if (text[size] == '\0') {
            return (long)size;
        }
    }
    return -ENAMETOOLONG;
}

bool path_is_empty(const char *guest_text) {
    return page_is_there(guest_text) && guest_text[0] == '\0';
}
