/* SPDX-License-Identifier: MIT */
/*
 * Call sites (REMAP_CALLERS), 2: recording harms no program, whatever its stack, its registers, its
 * forks and its descriptors are like.
 */
#include <alloca.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sites.h"

#define LEN SITE_LEN

/* ---- forks ---- */

static void move_in_child(void *unused)
{
    (void)unused;
    for (volatile int i = 0; i < 3; i++) { /* not unrolled: that would be three sites */
        descend(2);
    }
    read_table();
    CHECK_EQ(now.count, 1);
    CHECK_EQ(now.sites[0].moves, 3);
}

static void forked(void)
{
    ready_to_move();
    descend(2);
    in_child(move_in_child, NULL);
    read_table();
    CHECK_EQ(now.count, 1);
    CHECK_EQ(now.sites[0].moves, 1);
}

/* Without the handlers of fork(). */
static void forked_by_clone(void)
{
    ready_to_move();
    descend(2);
    long pid = raw_syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
    if (pid == 0) {
        move_in_child(NULL);
        _exit(0);
    }
    CHECK(pid > 0);
    CHECK_EQ(test_wait((pid_t)pid), 0);
}

static atomic_bool storm_over;

/* Always new sites: somebody is asking libunwind at each fork. */
static void *storm_body(void *argument)
{
    char *area = reserve(2 * LEN + 3 * PAGE);
    char *place[2] = {area + PAGE, area + 2 * PAGE + LEN};
    unsigned i = 0;
    (void)argument;
    map_at(place[0], LEN, RW);
    for (; !storm_over; i++) {
        CHECK_PTR(mremap(place[i % 2], LEN, LEN, MOVE_TO, place[1 - i % 2]), place[1 - i % 2]);
    }
    return NULL;
}

static void storm_child(void *unused)
{
    (void)unused;
    descend(5);
    read_table();
    CHECK_EQ(now.stats.counters.moves, 1);
}

static void fork_storm(void)
{
    pthread_t ids[3];
    ready_to_move();
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(pthread_create(&ids[i], NULL, storm_body, NULL), 0);
    }
    for (int round = 0; round < 100; round++) {
        in_child(storm_child, NULL);
    }
    storm_over = true;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(pthread_join(ids[i], NULL), 0);
    }
}

/* ---- stacks that are not what they should be ---- */

#if defined(__x86_64__)
/*
 * Calls `what` with a frame pointer that is none. Its tables say where the return address is, and
 * nothing about the frame pointer: that is how hand-written code often is. The caller finds its own
 * frame by the frame pointer (it has an alloca()).
 */
void call_with_frame_pointer(void (*what)(void), uintptr_t value);
__asm__(".text\n"
        ".globl call_with_frame_pointer\n"
        ".type call_with_frame_pointer, @function\n"
        "call_with_frame_pointer:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    movq %rsi, %rbp\n"
        "    call *%rdi\n"
        "    popq %rbp\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size call_with_frame_pointer, . - call_with_frame_pointer\n"
        /* The same, without any table. */
        ".globl call_without_table\n"
        ".type call_without_table, @function\n"
        "call_without_table:\n"
        "    pushq %rbp\n"
        "    movq %rsi, %rbp\n"
        "    call *%rdi\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size call_without_table, . - call_without_table\n");
void call_without_table(void (*what)(void), uintptr_t value);

static PLACE void by_frame_pointer(void (*call)(void (*)(void), uintptr_t), uintptr_t value,
                                   size_t size)
{
    volatile char *room = alloca(size);
    room[0] = 1;
    call(move, value);
    room[size - 1] = 1;
}

static void garbage_frame_pointer(void)
{
    char *none = reserve(2 * PAGE);
    uintptr_t itself[2];
    char *hole = mmap(NULL, 3 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(hole + PAGE, PAGE);
    map_at(none, PAGE, PROT_NONE);
    itself[0] = (uintptr_t)itself;
    itself[1] = (uintptr_t)move;
    const uintptr_t values[] = {0,
                                1,
                                7,
                                8,
                                ~0ul,
                                ~7ul,
                                1ul << 63,
                                1ul << 59,
                                3ul << 59,
                                0x7ffffffffff8,
                                0x800000000000,
                                0xffffffff80000000,
                                0xffffffffff600000,
                                (uintptr_t)none,
                                (uintptr_t)none + PAGE - 16,
                                (uintptr_t)hole + PAGE - 8,
                                (uintptr_t)hole + PAGE - 16,
                                (uintptr_t)hole,
                                (uintptr_t)itself,
                                (uintptr_t)itself + 4,
                                (uintptr_t)move};
    ready_to_move();
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        by_frame_pointer(call_with_frame_pointer, values[i], 100 + i);
        by_frame_pointer(call_without_table, values[i], 100 + i);
        call_without_table(move, values[i]);
        call_with_frame_pointer(move, values[i]);
    }
    read_table();
    CHECK_HOLDS(slots[at_slot], LEN, 1);
    for (size_t i = 0; i < now.count; i++) { /* at least the place of the call itself */
        CHECK(is_in(now.sites[i].frames[0], (uintptr_t)move));
        CHECK(is_in(now.sites[i].frames[1], (uintptr_t)call_with_frame_pointer));
    }
}

/* Code without tables that keeps frame pointers, as JITs can. */
static PLACE void jit_frames(void)
{
    static const unsigned char code[] = {0x55,             /* push %rbp */
                                         0x48, 0x89, 0xe5, /* mov %rsp, %rbp */
                                         0xff, 0xd7,       /* call *%rdi */
                                         0x5d,             /* pop %rbp */
                                         0xc3};            /* ret */
    char *page = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page, code, sizeof(code));
    CHECK_OK(mprotect(page, PAGE, PROT_READ | PROT_EXEC));
    ready_to_move();
    ((void (*)(void (*)(void)))(uintptr_t)page)(move);
    STAY();
    read_table();
    CHECK_EQ(now.count, 1);
    CHECK(is_in(now.sites[0].frames[0], (uintptr_t)move));
    CHECK_EQ(now.sites[0].frames[1], (uintptr_t)page + 6);
    CHECK(is_in(now.sites[0].frames[2], (uintptr_t)jit_frames));
    CHECK(now.sites[0].depth > 3);
}
#else
static void garbage_frame_pointer(void)
{
    test_skip("only for x86-64");
}
static void jit_frames(void)
{
    test_skip("only for x86-64");
}
#endif

static void *deep_thread(void *argument)
{
    (void)argument;
    descend(20);
    return NULL;
}

static void small_stack(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    ready_to_move();
    CHECK_EQ(pthread_attr_init(&attributes), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, stack_of(16 * KIB)), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(pthread_create(&thread, &attributes, deep_thread, NULL), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
    read_table();
    CHECK_EQ(now.stats.counters.moves, 4);
}

/* A handler on a stack with little room: what is unknown stays unknown. Below the stack is a page
 * of this protection, whose contents are the program's. */
static void on_small_signal_stack(int below)
{
    size_t size = 8 * KIB;
    char *area = reserve(size + 2 * PAGE);
    map_at(area, size + PAGE, RW);
    fill(area, PAGE, 5);
    CHECK_OK(mprotect(area, PAGE, below));
    stack_t stack = {.ss_sp = area + PAGE, .ss_size = size};
    if (sigaltstack(&stack, NULL) != 0) {
        test_skip("a signal stack needs more than 8 KiB here");
    }
    ready_to_move();
    move_on_signal(SIGUSR1, SA_ONSTACK);
    interrupted(); /* the engine starts on it as well */
    read_table();
    uint64_t before = now.head.dropped;
    for (int i = 0; i < 10; i++) {
        interrupted();
    }
    read_table();
    CHECK_EQ(now.stats.counters.moves, 11);
    CHECK(now.head.dropped == before || now.head.dropped == before + 10);
    CHECK_OK(mprotect(area, PAGE, PROT_READ));
    CHECK_HOLDS(area, PAGE, 5);
}

static void small_signal_stack(void)
{
    on_small_signal_stack(PROT_NONE);
}

static void signal_stack_in_memory(void)
{
    on_small_signal_stack(RW);
}

/* libunwind's pipe is not where the program's own descriptors go. */
static void low_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    CHECK(d != NULL);
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
        int fd = atoi(e->d_name);
        struct stat st;
        if (fd > 2 && fd < 200 && fstat(fd, &st) == 0) {
            CHECK(!S_ISFIFO(st.st_mode) || (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0);
        }
    }
    closedir(d);
}

/* The program closes what it does not know, and its own files get the numbers. */
static void closed_descriptors(void)
{
    char path[400];
    char content[64];
    ready_to_move();
    descend(1);
    temp_dir(path, sizeof(path));
    strcat(path, "/file");
    syscall(SYS_close_range, 3, ~0u, 0);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK_OK(fd);
    CHECK_EQ(write(fd, "precious", 8), 8);
    CHECK_OK(lseek(fd, 0, SEEK_SET));
    for (int i = 3; i < 1020; i++) {
        if (i != fd) {
            dup2(fd, i);
        }
    }
    descend(5);
    read_table();
    CHECK_EQ(now.count, 2);
#if defined(__x86_64__)
    call_without_table(move, (uintptr_t)path);
#endif
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 0);
    CHECK_EQ(read(fd, content, sizeof(content)), 8);
    unlink(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
}

static void library_missing(void)
{
    static const char *const names[] = {"libunwind.so.8", "libunwind-x86_64.so.8",
                                        "libunwind-aarch64.so.8"};
    char dir[300];
    char env[1200];
    char path[400];
    char said[1024] = "";
    char answer[64];
    temp_dir(dir, sizeof(dir));
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
    snprintf(env, sizeof(env), "LD_LIBRARY_PATH=%s REMAP_LOG_FILE=%s/log", dir, dir);
    struct peer peer = peer_start(env, "mover", NULL);
    peer_ask(&peer, "move 3", answer, sizeof(answer));
    CHECK_EQ(strtol(answer, NULL, 10), can_relocate() ? 3 : 0);
    read_table_of(peer.pid);
    CHECK(!now.there);
    CHECK_EQ(now.stats.counters.moves, 3);
    CHECK_EQ(peer_end(&peer), 0);
    snprintf(path, sizeof(path), "%s/log", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK_OK(fd);
    CHECK(read(fd, said, sizeof(said) - 1) > 0);
    close(fd);
    CHECK(strstr(said, "REMAP_CALLERS") && strstr(said, "libunwind8"));
    CHECK(strchr(said, '\n') == strrchr(said, '\n')); /* once */
    unlink(path);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static const struct test_case cases[] = {
    {"forked", forked, DEEP},
    {"forked_by_clone", forked_by_clone, DEEP},
    {"fork_storm", fork_storm, DEEP},
    {"garbage_frame_pointer", garbage_frame_pointer, DEEP},
    {"jit_frames", jit_frames, DEEP},
    {"small_stack", small_stack, DEEP},
    {"small_signal_stack", small_signal_stack, DEEP},
    {"signal_stack_in_memory", signal_stack_in_memory, DEEP},
    {"low_descriptors", low_descriptors, DEEP},
    {"closed_descriptors", closed_descriptors, DEEP},
    {"library_missing", library_missing, DEEP},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
