/*
 * Who is there, and how fast messages go from the first task to the last. The few names of MPI that
 * it needs are written out, as the libraries of Debian have them: -DOPEN_MPI (libmpi.so.40) or
 * -DMPICH (libmpi.so.12, the ABI of MPICH). So no headers of MPI have to be installed.
 *
 *   mpi_probe [ROUNDS]
 *
 * Of no rounds one message of each size is left.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef OPEN_MPI
typedef void *handle;
typedef struct {
    char opaque[256];
} object;
extern object ompi_mpi_comm_world, ompi_mpi_char, ompi_mpi_int, ompi_mpi_op_sum;
#define WORLD ((handle)&ompi_mpi_comm_world)
#define CHAR ((handle)&ompi_mpi_char)
#define INT ((handle)&ompi_mpi_int)
#define SUM ((handle)&ompi_mpi_op_sum)
#define IGNORE ((void *)0)
#else
typedef int handle;
#define WORLD ((handle)0x44000000)
#define CHAR ((handle)0x4c000101)
#define INT ((handle)0x4c000405)
#define SUM ((handle)0x58000003)
#define IGNORE ((void *)1)
#endif

int MPI_Init(int *count, char ***words);
int MPI_Comm_rank(handle world, int *rank);
int MPI_Comm_size(handle world, int *size);
int MPI_Allreduce(const void *in, void *out, int count, handle type, handle operation,
                  handle world);
int MPI_Send(const void *data, int count, handle type, int to, int tag, handle world);
int MPI_Recv(void *data, int count, handle type, int from, int tag, handle world, void *status);
int MPI_Iprobe(int from, int tag, handle world, int *is_there, void *status);
double MPI_Wtime(void);
int MPI_Finalize(void);

/* Seconds for one message one way: the best of some rounds. */
static double one_way(int rank, int last, char *data, int size, int rounds, int messages) {
    double best = 1e9;
    for (int round = 0; round < rounds; round++) {
        double begin = MPI_Wtime();
        for (int i = 0; i < messages; i++) {
            if (rank == 0) {
                MPI_Send(data, size, CHAR, last, 1, WORLD);
                MPI_Recv(data, size, CHAR, last, 1, WORLD, IGNORE);
            } else if (rank == last) {
                MPI_Recv(data, size, CHAR, 0, 1, WORLD, IGNORE);
                MPI_Send(data, size, CHAR, 0, 1, WORLD);
            }
        }
        double seconds = (MPI_Wtime() - begin) / messages / 2;
        best = seconds < best ? seconds : best;
    }
    return best;
}

/* The others wait without taking processors away from the two. */
static void idle(void) {
    int is_over = 0;
    while (!is_over) {
        usleep(10000);
        MPI_Iprobe(0, 2, WORLD, &is_over, IGNORE);
    }
    MPI_Recv(&is_over, 1, INT, 0, 2, WORLD, IGNORE);
}

int main(int count, char **words) {
    static const int sizes[] = {8, 64 << 10, 16 << 20};
    static const int messages[] = {1000, 100, 4};
    int rounds = count > 1 ? atoi(words[1]) : 2;
    int rank, size, sum;
    char name[65] = "";
    MPI_Init(&count, &words);
    MPI_Comm_rank(WORLD, &rank);
    MPI_Comm_size(WORLD, &size);
    MPI_Allreduce(&rank, &sum, 1, INT, SUM, WORLD);
    gethostname(name, sizeof name - 1);
    printf("task %d of %d on %s, sum %d\n", rank, size, name, sum);
    fflush(stdout);
    char *data = malloc(sizes[2]);
    memset(data, 1, sizes[2]);
    if (rank > 0 && rank < size - 1)
        idle();
    for (int i = 0; i < 3 && size > 1 && (rank == 0 || rank == size - 1); i++) {
        double seconds =
            one_way(rank, size - 1, data, sizes[i], rounds ? rounds : 1, rounds ? messages[i] : 1);
        if (rank == 0)
            printf("%d bytes: %.2f us, %.0f MB/s\n", sizes[i], seconds * 1e6,
                   sizes[i] / seconds / 1e6);
    }
    for (int i = 1; i < size - 1 && rank == 0; i++)
        MPI_Send(&i, 1, INT, i, 2, WORLD);
#ifdef MPICH
    if (rounds == 0) {
        /* MPICH 4.0.2 over UCX waits for ever in MPI_Finalize between hosts, bare ones as well. */
        for (int i = 0, there; i < 30; i++) {
            usleep(10000);
            MPI_Iprobe(0, 3, WORLD, &there, IGNORE);
        }
        fflush(stdout);
        _exit(0);
    }
#endif
    return MPI_Finalize();
}
