/* Descriptions of guests: any bytes, and "\n" for the NUL that ends a string. */
#include "fuzz.h"

static void check_order(const struct guest *guest) {
    size_t count = guest->mount_count;
    DEMAND(count >= 1 && count <= MAX_MOUNTS);
    DEMAND(guest->ports.count <= MAX_PORTS);
    for (const struct port *port = guest->ports.all; port < guest->ports.all + guest->ports.count;
         port++) {
        DEMAND(port->container > 0 && port->host > 0 && port->count > 0);
        DEMAND(port->container + port->count <= 65536 && port->host + port->count <= 65536);
    }
    DEMAND(guest->copies == NULL || guest->copies[0] == '/');
    DEMAND(guest->mounts[count - 1].target_size == 0);
    for (size_t index = 0; index + 1 < count; index++) {
        DEMAND(guest->mounts[index].target_size >= guest->mounts[index + 1].target_size);
    }
    DEMAND(guest->origin_count == count + (guest->has_union ? 1 : 0));
    for (size_t index = 0; index + 1 < guest->origin_count; index++) {
        DEMAND(guest->mounts[index].origin.size >= guest->mounts[index + 1].origin.size);
    }
}

/* A guest path to the host and back: the same file, if not the same name. */
static void check_path(const struct guest *guest, const char *path, size_t size) {
    char *host = malloc(PATH_SIZE);
    char *back = malloc(PATH_SIZE);
    char *again = malloc(PATH_SIZE);
    const struct mount *mount = guest_mount(guest, path, size == 1 ? 0 : size);
    long host_size = guest_to_host(guest, path, size, host);
    DEMAND(host_size > 0 || host_size == -ENAMETOOLONG);
    if (host_size > 0) {
        DEMAND(host[host_size] == '\0' && strlen(host) == (size_t)host_size);
        DEMAND(memcmp(host, mount->source, mount->source_size) == 0);
        long back_size = guest_from_host(guest, host, (size_t)host_size, back);
        DEMAND(back_size > 0 || back_size == -ENAMETOOLONG);
        if (back_size > 0 && !guest_is_lower(guest, host, (size_t)host_size)) {
            DEMAND(guest_to_host(guest, back, (size_t)back_size, again) == host_size);
            DEMAND(strcmp(again, host) == 0);
        }
        back_size = guest_from_host(guest, host, (size_t)host_size, host); /* in place */
        DEMAND(back_size < 0 || strcmp(host, back) == 0);
    }
    free(again);
    free(back);
    free(host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct guest guest;
    struct input input = {data, size};
    char *text = take_rest(&input, 0);
    for (size_t index = 0; index < size; index++) {
        text[index] = text[index] == '\n' ? '\0' : text[index];
    }
    memset(&guest, 0xa5, sizeof guest);
    if (guest_read(&guest, text, size)) {
        check_order(&guest);
        check_path(&guest, "/", 1);
        for (size_t index = 0; index + 1 < guest.mount_count; index++) {
            char below[PATH_SIZE];
            const struct mount *mount = &guest.mounts[index];
            DEMAND(guest_mount(&guest, mount->target, mount->target_size)->target_size ==
                   mount->target_size);
            check_path(&guest, mount->target, mount->target_size);
            if (mount->target_size + 4 < PATH_SIZE) {
                snprintf(below, sizeof below, "%s/a/b", mount->target);
                check_path(&guest, below, strlen(below));
            }
        }
    }
    free(text);
    return 0;
}
