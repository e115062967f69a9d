/*
 * Addresses of sockets, to the kernel and back: four bytes say how large the address is said to
 * be, how much room there is, what the kernel says, and which way; then comes the address.
 */
#include "fuzz.h"

#include "own_sockets.c"

static struct process process;

static void check_there(const struct unix_address *address, long size, bool binds) {
    static struct workspace space;
    struct translated result;
    if (!is_path((long)address, size)) {
        return;
    }
    long error = translate(&process, -1, (long)address, size, binds, &space, &result);
    if (error == 0) {
        size_t length = strlen(result.address.path);
        DEMAND(result.size == FAMILY_SIZE + (long)length + 1 && length < UNIX_PATH_SIZE);
        DEMAND(result.directory >= 0 ||
               strncmp(result.address.path, scratch(), strlen(scratch())) == 0);
        pin_end(result.directory);
    }
}

/* No byte that is not there is read; and no socket is one of a protocol with ports. */
static void check_ports(char *memory, long size) {
    struct internet result;
    const struct ports *ports = &process.guest.ports;
    DEMAND(!ports_there(ports, -1, memory, size, true, &result));
    DEMAND(!ports_there(ports, -1, memory, size, false, &result));
    ports_back(ports, -1, memory, size, true);
    ports_back(ports, -1, memory, size, false);
}

static void check_back(char *memory, long room, int said, bool is_peer) {
    int size = said;
    translate_back(&process, memory, room, &size, -1, is_peer);
    DEMAND(size == said || (size > FAMILY_SIZE && size <= FAMILY_SIZE + UNIX_PATH_SIZE + 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    if (process.guest.mount_count == 0) {
        scratch();
        atexit(clean_scratch);
        make_directory("root");
        make_directory("root/ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd");
        make_directory("one");
        make_link("root/l", "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd");
        DEMAND(GUEST(&process.guest, "root", "@root", "rw", "/o", "@one", "ro", "/h", "@one",
                     "port", "tcp", "1", "1", "65535", ""));
        enter("root");
    }
    long said = (long)take(&input) - 2;
    long room = (long)take(&input);
    unsigned way = take(&input);
    /* Exactly what there is room for; an address of the guest is as large as it says. */
    size_t whole = way & 1 ? (size_t)room : said < 0 ? 0 : (size_t)said;
    char *memory = calloc(1, whole + (whole == 0));
    if (input.size > 0) {
        memcpy(memory, input.data, input.size < whole ? input.size : whole);
    }
    check_ports(memory, (long)whole);
    if (whole >= FAMILY_SIZE && !(way & 8)) {
        ((struct unix_address *)memory)->family = AF_UNIX;
    }
    if (way & 1) {
        check_back(memory, room, (int)said, way & 2);
    } else {
        check_there((struct unix_address *)memory, said, way & 2);
    }
    free(memory);
    return 0;
}
