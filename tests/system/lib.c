/* SPDX-License-Identifier: MIT */
/* Cases, checks, patterns, and what the shim says of itself. Maps are in maps.c. */
#include "lib.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#pragma weak remap_statistics
#pragma weak remap_features

const char *test_variant = "";
const char *test_name = "";
static void (*at_end)(void);

void test_at_end(void (*undo)(void))
{
    at_end = undo;
}

static void undo_now(void)
{
    void (*undo)(void) = at_end;
    at_end = NULL;
    if (undo) {
        undo();
    }
}

void test_fail(const char *file, int line, const char *format, ...)
{
    int error = errno;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    dprintf(2, "%s:%d: %s (errno: %s)\n", file, line, text, strerror(error));
    undo_now();
    _exit(FAILED);
}

void test_skip(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    printf("skipped: %s\n", text);
    fflush(stdout);
    undo_now();
    _exit(SKIP);
}

/* Puts "A=b C=d" into the environment; says whether anything changed. */
static bool set_environment(const char *env)
{
    char copy[512];
    bool changed = false;
    snprintf(copy, sizeof(copy), "%s", env);
    char *save = NULL;
    for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char *equals = strchr(word, '=');
        CHECK(equals != NULL);
        *equals = '\0';
        const char *now = getenv(word);
        if (equals[1] == '\0') {
            changed |= now != NULL;
            unsetenv(word);
        } else if (!now || strcmp(now, equals + 1) != 0) {
            changed = true;
            setenv(word, equals + 1, 1);
        }
    }
    return changed;
}

int test_main(int argc, char **argv, const struct test_case *cases, size_t count)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < count; i++) {
            puts(cases[i].name);
        }
        return 0;
    }
    for (size_t i = 0; argc >= 2 && i < count; i++) {
        if (strcmp(argv[1], cases[i].name) != 0) {
            continue;
        }
        test_name = argv[1];
        test_variant = argc > 2 ? argv[2] : "";
        /* The library reads the environment when it is loaded. */
        if (cases[i].env && set_environment(cases[i].env)) {
            execv("/proc/self/exe", argv);
            test_fail(__FILE__, __LINE__, "execv");
        }
        if (!shim_loaded()) {
            test_fail(__FILE__, __LINE__, "run with LD_PRELOAD=<build>/libremap.so");
        }
        cases[i].run();
        undo_now();
        return 0;
    }
    fprintf(stderr, "usage: %s --list | CASE [VARIANT]\n", argv[0]);
    return 2;
}

long raw_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    return k_syscall6(number, a, b, c, d, e, f);
}

long raw_mremap(const void *old, size_t old_size, size_t new_size, int flags, const void *to)
{
    return raw_syscall(SYS_mremap, (long)old, (long)old_size, (long)new_size, flags, (long)to, 0);
}

void *shim_mremap(const void *old, size_t old_size, size_t new_size, int flags, const void *to)
{
    if (strcmp(test_variant, "syscall") == 0) {
        return (void *)syscall(SYS_mremap, old, old_size, new_size, flags, to);
    }
    return mremap((void *)(uintptr_t)old, old_size, new_size, flags, to);
}

bool shim_loaded(void)
{
    return remap_statistics != NULL && remap_features != NULL;
}

struct remap_stats stats_now(void)
{
    struct remap_stats stats;
    CHECK(shim_loaded());
    CHECK_EQ(remap_statistics(&stats, sizeof(stats)), 0);
    return stats;
}

uint64_t relocated_now(void)
{
    return stats_now().counters.relocated;
}

struct remap_features features_now(void)
{
    struct remap_features features = {.size = sizeof(features)};
    CHECK(shim_loaded());
    CHECK_EQ(remap_features(&features), 0);
    return features;
}

bool test_is_thinned_out(size_t number)
{
    const char *text = getenv("REMAP_TEST_THIN");
    size_t every = text ? strtoul(text, NULL, 10) : 0;
    return every > 1 && number % every != 0;
}

bool can_relocate(void)
{
    return features_now().tier != REMAP_TIER_NONE;
}

bool copies(void)
{
    return features_now().tier == REMAP_TIER_COPY;
}

void need_relocation(void)
{
    if (!can_relocate()) {
        test_skip("no relocation without UFFDIO_MOVE (Linux 6.8), but by copying");
    }
}

char *reserve(size_t size)
{
    char *at =
        mmap(NULL, size + HUGE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(at != MAP_FAILED);
    return (char *)(((uintptr_t)at + HUGE - 1) & ~(HUGE - 1));
}

char *map_at(void *at, size_t size, int protection)
{
    void *got = mmap(at, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK_PTR(got, at);
    return got;
}

char *island(size_t size)
{
    return map_at(reserve(size + HUGE) + 5 * PAGE, size, RW);
}

char *piece(size_t size, unsigned seed)
{
    char *at = island(size);
    fill(at, size, seed);
    return at;
}

/* One 64-bit word of the pattern: a bijective mix, so that no two places look alike. */
static uint64_t pattern(unsigned seed, size_t offset)
{
    uint64_t x = ((uint64_t)seed << 40) ^ (offset / 8) ^ 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    return x ^ (x >> 27);
}

void fill(void *at, size_t size, unsigned seed)
{
    uint64_t *word = at;
    for (size_t i = 0; i < size / 8; i++) {
        word[i] = pattern(seed, i * 8);
    }
}

bool holds(const void *at, size_t size, unsigned seed, size_t skip)
{
    const volatile uint64_t *word = at;
    for (size_t i = 0; i < size / 8; i++) {
        uint64_t want = pattern(seed, skip + i * 8);
        uint64_t got = word[i];
        if (got != want) {
            dprintf(2, "byte %#zx of %p: %#llx, not %#llx (pattern %u)\n", i * 8, at,
                    (unsigned long long)got, (unsigned long long)want, seed);
            return false;
        }
    }
    return true;
}

bool holds_zero(const void *at, size_t size)
{
    const volatile uint64_t *word = at;
    for (size_t i = 0; i < size / 8; i++) {
        if (word[i] != 0) {
            dprintf(2, "byte %#zx of %p: %#llx, not 0\n", i * 8, at, (unsigned long long)word[i]);
            return false;
        }
    }
    return true;
}

pid_t start_child(void (*body)(void *), void *argument)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        at_end = NULL; /* the parent's to undo */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) { /* it was faster */
            _exit(FAILED);
        }
        body(argument);
        _exit(0);
    }
    return pid;
}

int test_wait(pid_t pid)
{
    int status = 0;
    pid_t got;
    do {
        got = waitpid(pid, &status, 0);
    } while (got == -1 && errno == EINTR);
    CHECK_EQ(got, pid);
    return status;
}

void join_child(pid_t pid)
{
    int status = test_wait(pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIP) {
        undo_now();
        _exit(SKIP);
    }
    CHECK_EQ(status, 0);
}

void in_child(void (*body)(void *), void *argument)
{
    join_child(start_child(body, argument));
}

struct peer peer_start(const char *env, const char *program, const char *argument)
{
    int to[2];
    int from[2];
    CHECK_OK(pipe2(to, O_CLOEXEC));
    CHECK_OK(pipe2(from, O_CLOEXEC));
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        at_end = NULL;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(to[0], 0);
        dup2(from[1], 1);
        set_environment(env);
        char path[512];
        if (strchr(program, '/')) {
            snprintf(path, sizeof(path), "%s", program);
        } else {
            ssize_t n = readlink("/proc/self/exe", path, 400);
            CHECK(n > 0);
            path[n] = '\0';
            char *slash = strrchr(path, '/');
            snprintf(slash + 1, 100, "%s", program);
        }
        execl(path, program, argument, (char *)NULL);
        test_fail(__FILE__, __LINE__, "%s", path);
    }
    close(to[0]);
    close(from[1]);
    return (struct peer){.pid = pid, .to = to[1], .from = from[0]};
}

void peer_say(struct peer *peer, const char *command)
{
    char line[256];
    int n = snprintf(line, sizeof(line), "%s\n", command);
    CHECK_EQ(write(peer->to, line, (size_t)n), n);
}

void peer_ask(struct peer *peer, const char *command, char *answer, size_t size)
{
    peer_say(peer, command);
    size_t n = 0;
    for (;;) {
        char c;
        ssize_t got = read(peer->from, &c, 1);
        if (got != 1) {
            test_fail(__FILE__, __LINE__, "no answer to '%s'", command);
        }
        if (c == '\n') {
            break;
        }
        if (n + 1 < size) {
            answer[n++] = c;
        }
    }
    answer[n] = '\0';
}

int peer_end(struct peer *peer)
{
    int status = 0;
    close(peer->to);
    CHECK_EQ(waitpid(peer->pid, &status, 0), peer->pid);
    close(peer->from);
    return status;
}

void temp_dir(char *out, size_t size)
{
    const char *base = getenv("REMAP_TEST_TMP");
    base = base ? base : "/tmp";
    mkdir(base, 0700);
    snprintf(out, size, "%s/%s.XXXXXX", base, test_name);
    CHECK(mkdtemp(out) != NULL);
}

long long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

size_t stack_of(size_t size)
{
    size_t smallest = (size_t)sysconf(_SC_THREAD_STACK_MIN);
    return size < smallest ? smallest : size;
}
