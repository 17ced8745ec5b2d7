/* SPDX-License-Identifier: MIT */
/*
 * The program around the shim, 1: signals, the time before main, threads, forks. Whatever it does,
 * its data is whole and nothing hangs. Descriptors, limits and other libraries are in around.c.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define LEN (16 * PAGE)

/* ---- before main ---- */

static char *early_from;
static char *early_to;

/* Runs before the constructors of every library, the shim's included. */
static void before_everything(int argc, char **argv, char **envp)
{
    (void)envp;
    if (argc < 2 || strcmp(argv[1], "before_main") != 0) {
        return;
    }
    early_from = piece(LEN, 1);
    early_to = reserve(LEN);
    CHECK_PTR(mremap(early_from, LEN, LEN, MOVE_TO, early_to), early_to);
}

__attribute__((section(".preinit_array"),
               used)) static void (*const preinit)(int, char **, char **) = before_everything;

__attribute__((constructor(101))) static void first_constructor(void)
{
    if (early_to) {
        CHECK_HOLDS(early_to, LEN, 1);
        CHECK_PTR(mremap(early_to, LEN, LEN, MOVE_TO, early_from), early_from);
    }
}

static void before_main(void)
{
    CHECK(early_from != NULL);
    CHECK_HOLDS(early_from, LEN, 1);
    CHECK_EQ(relocated_now(), can_relocate() ? 2 : 0);
}

/* ---- a thing that goes to and fro ---- */

struct shuttle {
    char *slot[2];
    size_t size;
    unsigned seed;
    atomic_uint at;    /* where it is, or whence it is being moved */
    atomic_uint moves; /* that have begun */
};

static void shuttle_init(struct shuttle *s, size_t size, unsigned seed)
{
    char *area = reserve(2 * size + 3 * PAGE);
    s->slot[0] = area + PAGE;
    s->slot[1] = area + 2 * PAGE + size;
    s->size = size;
    s->seed = seed;
    s->at = 0;
    map_at(s->slot[0], size, RW);
    fill(s->slot[0], size, seed);
}

static void shuttle_go(struct shuttle *s)
{
    unsigned at = s->at;
    char *to = s->slot[1 - at];
    s->moves++;
    CHECK_PTR(mremap(s->slot[at], s->size, s->size, MOVE_TO, to), to);
    s->at = 1 - at;
}

static void shuttle_check(const struct shuttle *s)
{
    CHECK_HOLDS(s->slot[s->at], s->size, s->seed);
}

/* ---- signals ---- */

static struct shuttle mine;
static struct shuttle theirs;
static atomic_int handled;
static atomic_int wrong;

static void move_in_handler(int number)
{
    (void)number;
    int error = errno;
    shuttle_go(&theirs);
    handled++;
    errno = error;
}

static void start_alarm(void (*handler)(int), int interval_us)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    CHECK_OK(sigaction(SIGALRM, &action, NULL));
    struct itimerval timer = {{0, interval_us}, {0, interval_us}};
    CHECK_OK(setitimer(ITIMER_REAL, &timer, NULL));
}

static void stop_alarm(void)
{
    struct itimerval timer = {{0, 0}, {0, 0}};
    CHECK_OK(setitimer(ITIMER_REAL, &timer, NULL));
    signal(SIGALRM, SIG_IGN);
}

static void in_a_handler(void)
{
    shuttle_init(&theirs, LEN, 2);
    signal(SIGUSR1, move_in_handler);
    for (int i = 0; i < 10; i++) {
        CHECK_OK(raise(SIGUSR1));
        shuttle_check(&theirs);
    }
    CHECK_EQ(handled, 10);
}

static void moves_interrupt_moves(void)
{
    shuttle_init(&mine, LEN, 1);
    shuttle_init(&theirs, LEN, 2);
    start_alarm(move_in_handler, 100);
    long long deadline = now_ms() + 60000;
    while (handled < 300 && now_ms() < deadline) {
        shuttle_go(&mine);
    }
    stop_alarm();
    CHECK_GE(handled, 300);
    shuttle_check(&mine);
    shuttle_check(&theirs);
}

/* A handler looks at both places: one of them holds the data, whole, whenever it looks. */
static void look_at_both(int number)
{
    (void)number;
    int error = errno;
    static char copy[LEN];
    int found = 0;
    for (int i = 0; i < 2; i++) {
        struct iovec to = {copy, LEN};
        struct iovec from = {mine.slot[i], LEN};
        if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)LEN) {
            found++;
            wrong += !holds(copy, LEN, 1, 0);
        }
    }
    wrong += found != 1;
    handled++;
    errno = error;
}

static void alarm_storm(void)
{
    shuttle_init(&mine, LEN, 1);
    start_alarm(look_at_both, 50);
    long long deadline = now_ms() + 60000;
    while (handled < 1000 && now_ms() < deadline) {
        shuttle_go(&mine);
    }
    stop_alarm();
    CHECK_GE(handled, 1000);
    CHECK_EQ(wrong, 0);
    shuttle_check(&mine);
}

/* The signal mask after a move is the one before it, pending signals or not. */
static void mask_restored(void)
{
    sigset_t set;
    sigset_t now;
    shuttle_init(&mine, LEN, 1);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN + 3);
    CHECK_OK(sigprocmask(SIG_SETMASK, &set, NULL));
    CHECK_OK(raise(SIGUSR1));
    shuttle_go(&mine);
    CHECK_OK(sigprocmask(SIG_SETMASK, NULL, &now));
    for (int number = 1; number <= SIGRTMAX; number++) {
        CHECK_EQ(sigismember(&now, number), sigismember(&set, number));
    }
    shuttle_check(&mine);
}

/* ---- threads ---- */

enum { THREADS = 8, ROUNDS = 300 };

static void *shuttle_thread(void *argument)
{
    struct shuttle *s = argument;
    for (int i = 0; i < ROUNDS; i++) {
        shuttle_go(s);
        shuttle_check(s);
    }
    return NULL;
}

static void many_threads(void)
{
    static struct shuttle all[THREADS];
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        shuttle_init(&all[i], (i + 1) * 3 * PAGE, i);
    }
    uint64_t before = relocated_now();
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, shuttle_thread, &all[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        shuttle_check(&all[i]);
    }
    struct remap_stats s = stats_now();
    CHECK_GE(s.counters.calls, THREADS * ROUNDS);
    CHECK_GE(s.counters.moves, THREADS * ROUNDS);
    if (can_relocate()) { /* the first call of each may meet an engine that is just starting */
        CHECK_GE(s.counters.relocated - before, THREADS * (ROUNDS - 1));
    }
}

/* All threads build one row of pieces, each its share. */
static char *row;
static atomic_uint next_in_row;
enum { ROW = 800 };

static void *build_row(void *unused)
{
    (void)unused;
    for (unsigned i = next_in_row++; i < ROW; i = next_in_row++) {
        char *src = piece(4 * PAGE, i);
        char *dst = row + i * 4 * PAGE;
        CHECK_PTR(mremap(src, 4 * PAGE, 4 * PAGE, MOVE_TO, dst), dst);
    }
    return NULL;
}

static void one_row_by_threads(void)
{
    need_relocation();
    pthread_t threads[4];
    row = reserve(ROW * 4 * PAGE);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, build_row, NULL), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    for (unsigned i = 0; i < ROW; i++) {
        CHECK_HOLDS(row + i * 4 * PAGE, 4 * PAGE, i);
    }
    /* Neighbours that are placed at the same time may each found an anon_vma of their own. */
    CHECK_LE(vmas_in(row, ROW * 4 * PAGE), ROW / 3);
}

/* A thread that reads the old address gets the data or nothing: never zeroes. */
static atomic_bool stop_reading;

static void *read_old(void *unused)
{
    (void)unused;
    static char copy[LEN];
    while (!stop_reading) {
        unsigned moves = mine.moves;
        unsigned at = mine.at;
        struct iovec to = {copy, LEN};
        struct iovec from = {mine.slot[at], LEN};
        ssize_t got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
        /* After the next move it may be arriving at `at` again: that is not what is asked here. */
        if (got > 0 && mine.moves == moves && mine.at == at) {
            wrong += !holds(copy, (size_t)got & ~(size_t)7, 1, 0);
        }
        handled++;
    }
    return NULL;
}

static void never_zeroes_behind(void)
{
    pthread_t thread;
    shuttle_init(&mine, LEN, 1);
    CHECK_EQ(pthread_create(&thread, NULL, read_old, NULL), 0);
    for (int i = 0; i < 3000; i++) {
        shuttle_go(&mine);
        /* Let it be read at rest for a while now and then. */
        for (int seen = handled; i % 16 == 0 && handled == seen;) {
            sched_yield();
        }
    }
    stop_reading = true;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(wrong, 0);
    shuttle_check(&mine);
}

/* No large frames: signal stacks and thread stacks can be as small as this. */
static void small_stack(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    shuttle_init(&mine, 64 * PAGE, 1);
    CHECK_EQ(pthread_attr_init(&attributes), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, stack_of(16 * KIB)), 0);
    CHECK_EQ(pthread_create(&thread, &attributes, shuttle_thread, &mine), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    shuttle_check(&mine);
}

/* ---- fork ---- */

static void move_on(void *argument)
{
    struct remap_stats s = stats_now();
    unsigned depth = *(unsigned *)argument;
    CHECK_EQ(s.counters.calls, 0);
    CHECK_EQ(s.counters.moves, 0);
    need_relocation();
    shuttle_init(&theirs, LEN, 5);
    for (int i = 0; i < 4; i++) {
        shuttle_go(&theirs);
        shuttle_go(&mine);
    }
    shuttle_check(&theirs);
    shuttle_check(&mine);
    CHECK_EQ(stats_now().counters.calls, 8);
    CHECK_EQ(stats_now().identity.pid, getpid());
    CHECK_GE(relocated_now(), 4);
    if (depth > 0) {
        depth--;
        in_child(move_on, &depth);
    }
}

static void after_fork(void)
{
    unsigned depth = 2;
    shuttle_init(&mine, LEN, 1);
    shuttle_go(&mine);
    in_child(move_on, &depth);
    shuttle_go(&mine);
    shuttle_check(&mine);
    CHECK_EQ(stats_now().counters.calls, 2);
}

static void vfork_child(void)
{
    shuttle_init(&mine, LEN, 1);
    shuttle_init(&theirs, LEN, 2);
    shuttle_go(&mine);
    volatile pid_t pid = vfork();
    if (pid == 0) {
        shuttle_go(&mine); /* the parent's memory, and the parent's shim */
        shuttle_go(&theirs);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    shuttle_check(&mine);
    shuttle_check(&theirs);
    shuttle_go(&mine);
    shuttle_go(&theirs);
    shuttle_check(&mine);
    shuttle_check(&theirs);
}

static struct shuttle stormed[4];
static atomic_bool storm_over;

static void *storm_thread(void *argument)
{
    struct shuttle *s = argument;
    while (!storm_over) {
        shuttle_go(s);
        shuttle_check(s);
    }
    return NULL;
}

/* In the child every shuttle is at one of its two places, whole. */
static void check_all(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 4; i++) {
        const struct shuttle *s = &stormed[i];
        int found = 0;
        for (int slot = 0; slot < 2; slot++) {
            struct map_line line;
            if (map_of(s->slot[slot], &line) && strcmp(line.perms, "rw-p") == 0) {
                CHECK_HOLDS(s->slot[slot], s->size, s->seed);
                found++;
            }
        }
        CHECK_EQ(found, 1);
    }
}

static void fork_storm(void)
{
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++) {
        shuttle_init(&stormed[i], (i + 1) * 8 * PAGE, i);
        CHECK_EQ(pthread_create(&threads[i], NULL, storm_thread, &stormed[i]), 0);
    }
    for (int round = 0; round < 200; round++) {
        in_child(check_all, NULL);
    }
    storm_over = true;
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        shuttle_check(&stormed[i]);
    }
}

static const struct test_case cases[] = {
    {"before_main", before_main, NULL},
    {"in_a_handler", in_a_handler, NULL},
    {"moves_interrupt_moves", moves_interrupt_moves, NULL},
    {"alarm_storm", alarm_storm, NULL},
    {"mask_restored", mask_restored, NULL},
    {"many_threads", many_threads, NULL},
    {"one_row_by_threads", one_row_by_threads, NULL},
    {"never_zeroes_behind", never_zeroes_behind, NULL},
    {"small_stack", small_stack, NULL},
    {"after_fork", after_fork, NULL},
    {"vfork_child", vfork_child, NULL},
    {"fork_storm", fork_storm, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
