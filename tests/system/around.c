/* SPDX-License-Identifier: MIT */
/*
 * The program around the shim, 2: descriptors that it closes and reuses, its own userfaultfd,
 * limits, privileges, other libraries; and what the library adds to a process.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define LEN (16 * PAGE)

/* Moves a piece beside a neighbour: whole, and merged where that is `expected`. */
static void move_one(bool expected)
{
    char *area = map_at(reserve(LEN + PAGE), PAGE, RW);
    fill(area, PAGE, 1);
    char *src = piece(LEN, 2);
    char *dst = area + PAGE;
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    CHECK_HOLDS(area, PAGE, 1);
    CHECK_HOLDS(dst, LEN, 2);
    CHECK_EQ(mapped_in(src, LEN), 0);
    if (expected && can_relocate()) {
        CHECK_EQ(vmas_in(area, LEN + PAGE), 1);
    }
}

/* ---- descriptors ---- */

static void all_closed(void)
{
    move_one(true);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(syscall(SYS_close_range, 3, ~0u, 0));
        maps_open();
        move_one(true);
    }
}

/* Numbers of descriptors above 2 that this process has now. */
static size_t descriptors(int *out, size_t room)
{
    size_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        int fd = atoi(e->d_name);
        if (fd > 2 && fd != dirfd(dir) && n < room) {
            out[n++] = fd;
        }
    }
    closedir(dir);
    return n;
}

static int own_userfaultfd(uint64_t features)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api) != 0) {
        test_skip("no userfaultfd (or not with its events): %s", strerror(errno));
    }
    return fd;
}

/* Whatever number ours had, it is now the program's; the program's file is left alone. */
static void numbers_reused(void)
{
    int before[64];
    int ours[64];
    size_t had = 0;
    maps_open();
    had = descriptors(before, 64);
    move_one(true);
    size_t have = descriptors(ours, 64);
    int file = memfd_create("program", 0);
    CHECK_EQ(write(file, "contents", 8), 8);
    int uffd = own_userfaultfd(0);
    struct stat want;
    CHECK_OK(fstat(file, &want));
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < have; i++) {
            bool known = ours[i] == file || ours[i] == uffd;
            for (size_t j = 0; j < had; j++) {
                known |= ours[i] == before[j];
            }
            if (!known) {
                CHECK_OK(dup2(round == 0 ? file : uffd, ours[i]));
            }
        }
        for (int i = 0; i < 5; i++) {
            move_one(true);
        }
        have = descriptors(ours, 64);
        struct stat now;
        CHECK_OK(fstat(file, &now));
        CHECK(now.st_ino == want.st_ino && now.st_size == want.st_size);
        CHECK_EQ(lseek(file, 0, SEEK_CUR), 8);
        struct pollfd events = {.fd = uffd, .events = POLLIN};
        CHECK_EQ(poll(&events, 1, 0), 0);
    }
}

static void descriptor_limit(void)
{
    struct rlimit limit = {8, 8};
    maps_open();
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
    move_one(false);
    int fd;
    while ((fd = dup(0)) >= 0) {
    }
    move_one(false);
}

/* ---- the program's own userfaultfd ---- */

struct events {
    int fd;
    int stop;
    unsigned remaps;
    unsigned others;
    struct uffd_msg last;
};

static void *read_events(void *argument)
{
    struct events *e = argument;
    struct pollfd both[2] = {{.fd = e->fd, .events = POLLIN}, {.fd = e->stop, .events = POLLIN}};
    for (;;) {
        CHECK(poll(both, 2, -1) > 0);
        struct uffd_msg message;
        if ((both[0].revents & POLLIN) && read(e->fd, &message, sizeof(message)) > 0) {
            if (message.event == UFFD_EVENT_REMAP) {
                e->remaps++;
                e->last = message;
            } else {
                e->others++;
            }
        } else if (both[1].revents) {
            return NULL;
        }
    }
}

static void arm(int uffd, char *at, size_t size)
{
    struct uffdio_register reg = {.range = {(uintptr_t)at, size},
                                  .mode = UFFDIO_REGISTER_MODE_MISSING};
    CHECK_OK(ioctl(uffd, UFFDIO_REGISTER, &reg));
}

static void own_uffd(void)
{
    int uffd = own_userfaultfd(0);
    char flags[2][256];
    move_one(true);
    for (int shimmed = 0; shimmed < 2; shimmed++) {
        char *src = piece(LEN, 1);
        char *dst = reserve(LEN);
        arm(uffd, src, LEN);
        if (shimmed) {
            CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
        } else {
            CHECK_EQ(raw_mremap(src, LEN, LEN, MOVE_TO, dst), (long)dst);
        }
        CHECK_HOLDS(dst, LEN, 1);
        vm_flags(dst, flags[shimmed], sizeof(flags[shimmed]));
    }
    CHECK(strcmp(flags[0], flags[1]) == 0);
    struct pollfd events = {.fd = uffd, .events = POLLIN};
    CHECK_EQ(poll(&events, 1, 0), 0);
}

static void own_uffd_events(void)
{
    int ends[2];
    char flags[2][256];
    CHECK_OK(pipe(ends));
    struct events e = {.fd = own_userfaultfd(UFFD_FEATURE_EVENT_REMAP), .stop = ends[0]};
    pthread_t thread;
    move_one(true);
    CHECK_EQ(pthread_create(&thread, NULL, read_events, &e), 0);
    char *at[2];
    char *from = NULL;
    for (int shimmed = 0; shimmed < 2; shimmed++) {
        char *src = from = piece(LEN, 1);
        char *dst = at[shimmed] = reserve(LEN);
        arm(e.fd, src, LEN);
        if (shimmed) {
            CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
        } else {
            CHECK_EQ(raw_mremap(src, LEN, LEN, MOVE_TO, dst), (long)dst);
        }
        CHECK_HOLDS(dst, LEN, 1);
        vm_flags(dst, flags[shimmed], sizeof(flags[shimmed]));
    }
    CHECK_EQ(write(ends[1], "", 1), 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK(strcmp(flags[0], flags[1]) == 0);
    CHECK_EQ(e.remaps, 2);
    CHECK_EQ(e.others, 0);
    CHECK_EQ(e.last.arg.remap.from, (uintptr_t)from);
    CHECK_EQ(e.last.arg.remap.to, (uintptr_t)at[1]);
    CHECK_EQ(e.last.arg.remap.len, LEN);
}

/* ---- limits ---- */

static void address_space_limit(void)
{
    for (int warm = 0; warm < 2; warm++) {
        char *src = piece(64 * LEN, 2);
        char *dst = reserve(64 * LEN);
        maps_open();
        if (warm) {
            move_one(true);
        }
        size_t size = (size_t)proc_status_kib("VmSize") * KIB;
        struct rlimit now;
        CHECK_OK(getrlimit(RLIMIT_AS, &now));
        struct rlimit limit = {size, now.rlim_max};
        CHECK_OK(setrlimit(RLIMIT_AS, &limit));
        errno = 0;
        char *got = mremap(src, 64 * LEN, 64 * LEN, MOVE_TO, dst);
        int error = errno;
        CHECK_OK(setrlimit(RLIMIT_AS, &now));
        CHECK_EQ(error, 0);
        CHECK_PTR(got, dst);
        CHECK_HOLDS(dst, 64 * LEN, 2);
    }
}

static void drop_privileges(void)
{
    if (geteuid() == 0) {
        CHECK_OK(syscall(SYS_setresgid, 65534, 65534, 65534));
        CHECK_OK(syscall(SYS_setresuid, 65534, 65534, 65534));
    }
}

static int is_warm; /* its address says so */

static void lock_limit_child(void *warm)
{
    maps_open();
    if (warm) {
        move_one(true);
    }
    char *src = piece(LEN, 2);
    char *dst = reserve(2 * LEN);
    struct rlimit limit = {LEN, LEN};
    CHECK_OK(setrlimit(RLIMIT_MEMLOCK, &limit));
    drop_privileges();
    CHECK_OK(mlock(src, LEN));
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, LEN, 2);
    struct map_line line;
    CHECK(map_of(dst, &line));
    CHECK_ERRNO(mlock(dst - PAGE, PAGE), ENOMEM); /* the limit is used up: it is still locked */
}

static void lock_limit(void)
{
    in_child(lock_limit_child, NULL);
    in_child(lock_limit_child, &is_warm);
}

/* Without privileges only UFFD_USER_MODE_ONLY is to be had; that is enough. */
static void unprivileged_child(void *unused)
{
    (void)unused;
    drop_privileges();
    CHECK_OK(prctl(PR_SET_DUMPABLE, 1)); /* as a program that was started without privileges */
    maps_open();
    if (!can_relocate()) {
        test_skip("not possible without privileges here");
    }
    move_one(true);
    CHECK_GE(relocated_now(), 1);
}

static void unprivileged(void)
{
    need_relocation();
    in_child(unprivileged_child, NULL);
}

static void no_proc_child(void *warm)
{
    char dir[256];
    maps_open();
    if (warm) {
        move_one(true);
    }
    temp_dir(dir, sizeof(dir));
    CHECK_OK(chdir(dir));
    CHECK_OK(rmdir(dir));
    if (chroot(".") != 0) {
        test_skip("chroot: %s", strerror(errno));
    }
    move_one(false);
    move_one(false);
}

static void no_proc(void)
{
    in_child(no_proc_child, NULL);
    in_child(no_proc_child, &is_warm);
}

struct crowd {
    size_t headroom;
    bool warm;
    bool shimmed;
    int answer;
};

/* Makes VMAs until the kernel refuses, then takes `headroom` of them away again. */
static void fill_map_count(size_t headroom)
{
    size_t pages = 140000;
    char *at =
        mmap(NULL, pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(at != MAP_FAILED);
    size_t i = 1;
    while (i < pages && mprotect(at + i * PAGE, PAGE, PROT_READ) == 0) {
        i += 2;
    }
    /* The last step may have been one of two: use up the single VMA that may be left. */
    static char *single;
    single = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (single != MAP_FAILED) {
        CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
    }
    for (size_t freed = 0; freed < headroom; freed++) {
        i -= 2;
        CHECK_OK(munmap(at + i * PAGE, PAGE)); /* a VMA less, and the two around it stay */
    }
}

static void crowded(void *argument)
{
    struct crowd *c = argument;
    char *src = piece(3 * LEN, 2);
    char *dst = reserve(4 * LEN);
    maps_open();
    if (c->warm) {
        move_one(true);
    }
    fill_map_count(c->headroom);
    long got[2];
    char *from[2] = {src, src + LEN}; /* the head of a VMA, then what is whole by then */
    size_t size[2] = {LEN, 2 * LEN};
    for (int i = 0; i < 2; i++) {
        char *to = dst + (i == 0 ? 0 : LEN);
        if (c->shimmed) {
            errno = 0;
            char *result = mremap(from[i], size[i], size[i], MOVE_TO, to);
            got[i] = result == MAP_FAILED ? -errno : result - dst;
        } else {
            got[i] = raw_mremap(from[i], size[i], size[i], MOVE_TO, to);
            got[i] = got[i] < 0 ? got[i] : (char *)got[i] - dst;
        }
        CHECK_HOLDS_FROM(got[i] < 0 ? from[i] : to, size[i], 2, i == 0 ? 0 : LEN);
    }
    CHECK_EQ(write(c->answer, got, sizeof(got)), sizeof(got));
}

static void map_count(bool warm)
{
    if (read_number("/proc/sys/vm/max_map_count") > 66000) {
        test_skip("vm.max_map_count is high: reaching it takes too long");
    }
    int ends[2];
    CHECK_OK(pipe(ends));
    for (size_t headroom = 0; headroom <= 12; headroom++) {
        long got[2][2];
        for (int shimmed = 0; shimmed < 2; shimmed++) {
            struct crowd c = {headroom, warm, shimmed == 1, ends[1]};
            in_child(crowded, &c);
            CHECK_EQ(read(ends[0], got[shimmed], sizeof(got[0])), sizeof(got[0]));
        }
        for (int i = 0; i < 2; i++) {
            /* Success where plain fails is welcome; less, or another address, is not. */
            if (got[0][i] != got[1][i] && (got[0][i] >= 0 || got[1][i] < 0)) {
                test_fail(__FILE__, __LINE__, "%zu VMAs free, move %d: plain %ld, shimmed %ld",
                          headroom, i, got[0][i], got[1][i]);
            }
        }
    }
}

static void map_count_cold(void)
{
    map_count(false);
}

static void map_count_warm(void)
{
    map_count(true);
}

/* ---- what the library adds ---- */

static size_t count_lines(const char *path, const char *but_for)
{
    FILE *file = fopen(path, "re");
    char line[1024];
    size_t n = 0;
    CHECK(file != NULL);
    while (fgets(line, sizeof(line), file)) {
        n += !but_for || !strstr(line, but_for);
    }
    fclose(file);
    return n;
}

static size_t count_entries(const char *path)
{
    size_t n = 0;
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

/* A peer with a statistics directory of its own. */
static struct peer mover_in(char *dir, size_t size, const char *preload)
{
    char env[900];
    temp_dir(dir, size);
    snprintf(env, sizeof(env), "REMAP_STATS_DIR=%s LD_PRELOAD=%s", dir, preload);
    return peer_start(env, "mover", NULL);
}

struct presence {
    size_t vmas;
    size_t vmas_but_library;
    size_t descriptors;
    size_t threads;
    size_t files;
};

static struct presence presence_after(const char *preload, const char *command)
{
    char dir[300];
    char path[400];
    char answer[64];
    struct peer peer = mover_in(dir, sizeof(dir), preload);
    struct presence p;
    peer_ask(&peer, command, answer, sizeof(answer));
    peer_ask(&peer, "nothing", answer, sizeof(answer));
    snprintf(path, sizeof(path), "/proc/%d/maps", peer.pid);
    p.vmas = count_lines(path, NULL);
    p.vmas_but_library = count_lines(path, "libremap");
    snprintf(path, sizeof(path), "/proc/%d/fd", peer.pid);
    p.descriptors = count_entries(path);
    snprintf(path, sizeof(path), "/proc/%d/task", peer.pid);
    p.threads = count_entries(path);
    p.files = count_entries(dir) - 2;
    CHECK_EQ(peer_end(&peer), 0);
    CHECK_OK(rmdir(dir));
    return p;
}

/*
 * On aarch64 the library is linked for pages of up to 64 KiB. The loader keeps the gap between text
 * and data mapped, and .bss does not lie next to memory that it could merge with.
 */
#if defined(__aarch64__)
enum { LIBRARY_MORE = 1, LIBRARY_MORE_ANONYMOUS = 1 };
#else
enum { LIBRARY_MORE = 0, LIBRARY_MORE_ANONYMOUS = 0 };
#endif

static void never_moves(void)
{
    static const char *const commands[] = {"nothing", "place 3", "fail 3"};
    const char *library = getenv("LD_PRELOAD");
    for (size_t i = 0; i < 3; i++) {
        struct presence bare = presence_after("", commands[i]);
        struct presence with = presence_after(library, commands[i]);
        if (i == 0) { /* growth may need a look */
            CHECK_LE(with.vmas_but_library, bare.vmas_but_library + LIBRARY_MORE_ANONYMOUS);
        }
        CHECK_LE(with.vmas - bare.vmas, 8);
        if (i != 1) {
            CHECK_EQ(with.descriptors, bare.descriptors);
            CHECK_EQ(with.files, 0);
        }
        CHECK_EQ(with.threads, bare.threads);
    }
}

static void adds_few_vmas(void)
{
    struct presence bare = presence_after("", "move 20");
    struct presence with = presence_after(getenv("LD_PRELOAD"), "move 20");
    CHECK_LE(with.vmas, bare.vmas + 8 + LIBRARY_MORE);
    CHECK_EQ(with.threads, bare.threads);
    printf("VMAs added: %zd, descriptors: %zd\n", (ssize_t)(with.vmas - bare.vmas),
           (ssize_t)(with.descriptors - bare.descriptors));
}

/* ---- the call itself ---- */

/* Without FIXED and DONTUNMAP the fifth argument holds whatever the register held. */
static void fifth_argument_garbage(void)
{
    void *garbage = (void *)(uintptr_t)0x123456789abcd123;
    for (unsigned i = 0; i < 3; i++) {
        char *src = piece(LEN, i);
        char *dst;
        if (i == 0) {
            dst = mremap(src, LEN, 4 * LEN, MREMAP_MAYMOVE, garbage);
        } else if (i == 1) {
            dst = (char *)syscall(SYS_mremap, src, LEN, 4 * LEN, MREMAP_MAYMOVE, garbage);
        } else {
            dst = mremap(src, LEN, 4 * LEN, MREMAP_MAYMOVE | MUST, garbage);
            if (dst == MAP_FAILED && !can_relocate()) {
                continue;
            }
        }
        CHECK(dst != MAP_FAILED && dst != src);
        CHECK_HOLDS(dst, LEN, i);
        CHECK_PTR(mremap(dst, 4 * LEN, LEN, 0, garbage), dst);
        CHECK_HOLDS(dst, LEN, i);
    }
}

/* syscall() hands every other number on, with six arguments and errno. */
static void other_system_calls(void)
{
    CHECK_EQ(syscall(SYS_getpid), getpid());
    CHECK_ERRNO(syscall(SYS_close, -1), EBADF);
    CHECK_ERRNO(syscall(100000), ENOSYS);
    int fd = memfd_create("around", 0);
    CHECK_OK(ftruncate(fd, (off_t)(4 * PAGE)));
    char *at = (char *)syscall(SYS_mmap, NULL, PAGE, RW, MAP_SHARED, fd, 2 * PAGE);
    CHECK(at != MAP_FAILED);
    at[5] = 'x';
    char c = 0;
    CHECK_EQ(pread(fd, &c, 1, (off_t)(2 * PAGE + 5)), 1); /* all six arguments arrived */
    CHECK_EQ(c, 'x');
    errno = 4711;
    CHECK_EQ(syscall(SYS_getppid), getppid());
    CHECK_EQ(errno, 4711);
}

static void secure(void)
{
    char dir[256];
    char copy[300];
    char exe[512];
    if (geteuid() != 0) {
        test_skip("only root can make a set-user-id program for another user");
    }
    temp_dir(dir, sizeof(dir));
    snprintf(copy, sizeof(copy), "/tmp/remap-secure-%d", getpid()); /* others must reach it */
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 20);
    CHECK(n > 0);
    exe[n] = '\0';
    memcpy(strrchr(exe, '/') + 1, "secure", 7);
    int from = open(exe, O_RDONLY | O_CLOEXEC);
    int to = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    CHECK_OK(from);
    CHECK_OK(to);
    struct stat st;
    CHECK_OK(fstat(from, &st));
    for (off_t done = 0; done < st.st_size;) {
        CHECK(sendfile(to, from, &done, (size_t)(st.st_size - done)) > 0);
    }
    CHECK_OK(fchown(to, 65534, 65534));
    CHECK_OK(fchmod(to, 04755));
    close(to);
    char env[700];
    snprintf(env, sizeof(env), "LD_PRELOAD= REMAP_STATS_DIR=%s REMAP_POLICY=always", dir);
    struct peer peer = peer_start(env, copy, NULL);
    int status = peer_end(&peer);
    unlink(copy);
    CHECK_OK(rmdir(dir)); /* no file was made there */
    if (status == 3 << 8) {
        test_skip("set-user-id programs have no effect here");
    }
    CHECK_EQ(status, 0);
}

/* ---- another library that defines mremap() ---- */

unsigned counting_calls(void);
#pragma weak counting_calls

static void stacked(bool shim_first)
{
    if (!counting_calls) {
        char exe[512];
        char both[1200];
        ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 20);
        CHECK(n > 0);
        exe[n] = '\0';
        memcpy(strrchr(exe, '/') + 1, "libcounting.so", 15);
        const char *shim = getenv("LD_PRELOAD");
        snprintf(both, sizeof(both), "%s:%s", shim_first ? shim : exe, shim_first ? exe : shim);
        setenv("LD_PRELOAD", both, 1);
        execl("/proc/self/exe", "around", test_name, (char *)NULL);
        test_fail(__FILE__, __LINE__, "exec");
    }
    unsigned before = counting_calls();
    for (unsigned i = 0; i < 10; i++) {
        move_one(true);
    }
    CHECK_EQ(stats_now().counters.calls, 10);
    if (!shim_first) {
        CHECK_EQ(counting_calls() - before, 10);
    }
    /* What the shim only passes on, the other one sees in either order. */
    before = counting_calls();
    char *src = reserve(LEN);
    char *dst = reserve(LEN);
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    CHECK_EQ(counting_calls() - before, 1);
}

static void stack_shim_first(void)
{
    stacked(true);
}

static void stack_shim_last(void)
{
    stacked(false);
}

static const struct test_case cases[] = {
    {"all_closed", all_closed, NULL},
    {"numbers_reused", numbers_reused, NULL},
    {"descriptor_limit", descriptor_limit, NULL},
    {"own_uffd", own_uffd, NULL},
    {"own_uffd_events", own_uffd_events, NULL},
    {"address_space_limit", address_space_limit, NULL},
    {"lock_limit", lock_limit, NULL},
    {"unprivileged", unprivileged, NULL},
    {"no_proc", no_proc, NULL},
    {"map_count_cold", map_count_cold, NULL},
    {"map_count_warm", map_count_warm, NULL},
    {"never_moves", never_moves, NULL},
    {"adds_few_vmas", adds_few_vmas, NULL},
    {"fifth_argument_garbage", fifth_argument_garbage, NULL},
    {"other_system_calls", other_system_calls, NULL},
    {"secure", secure, NULL},
    {"stack_shim_first", stack_shim_first, NULL},
    {"stack_shim_last", stack_shim_last, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
