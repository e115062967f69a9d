/* Says whether it was loaded as it wants to be: test_inprocess.py links it in many ways. */
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char zero[3 << 20];
static char data[5000] = "data";
static const char constant[] = "constant";
extern char __ehdr_start[];

static int called(void) {
    return 7;
}

/* Whether code on the stack runs, in a child: it may be a fault. */
static int runs_on_stack(void) {
    char line[200];
    FILE *maps = fopen("/proc/self/maps", "r");
    int found = 0;
    while (fgets(line, sizeof line, maps) != NULL) {
        found |= strstr(line, "[stack]") != NULL && strstr(line, "rwx") != NULL;
    }
    fclose(maps);
    return found;
}

int main(int count, char **words) {
    int (*volatile pointer)(void) = called;
    struct stat status;
    size_t sum = 0;
    for (size_t index = 0; index < sizeof zero; index++) {
        sum += (unsigned char)zero[index];
        zero[index] = 1;
    }
    for (size_t index = 4; index < sizeof data; index++) {
        sum += (unsigned char)data[index];
    }
    void *more = sbrk(100000);
    memset(more, 1, 100000);
    printf("%d words, %zu, %s, %s, %d, header %d, stat %d, stack %d, aligned %d\n", count, sum,
           data, constant, pointer(), memcmp(__ehdr_start, "\177ELF", 4),
           stat("/etc/passwd", &status), runs_on_stack(), (int)((unsigned long)words % 16));
    return count;
}
