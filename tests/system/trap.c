/* SPDX-License-Identifier: MIT */
/*
 * REMAP_CATCH=trap: mremap() made by a system call instruction of the program's own is seen, and
 * gives what it would give. And the filter's danger to others: who is killed, who is not, and where
 * it is refused. Signals are in trap_signals.c.
 */
#include "trapping.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN (4 * PAGE)

/* ---- calls ---- */

static void moved(void)
{
    need_trap();
    struct remap_stats before = stats_now();
    for (int i = 0; i < 10; i++) {
        move_trapped();
    }
    struct remap_stats after = stats_now();
    CHECK_EQ(after.counters.calls - before.counters.calls, 10);
    CHECK_EQ(after.counters.moves - before.counters.moves, 10);
    if (can_relocate()) {
        CHECK_EQ(after.counters.relocated - before.counters.relocated, 10);
    }
}

/* Through the symbol and syscall() they are counted as such, and not trapped. */
static void other_ways(void)
{
    need_trap();
    struct remap_stats before = stats_now();
    char *to = reserve(2 * LEN);
    CHECK_PTR(mremap(piece(LEN, 1), LEN, LEN, MOVE_TO, to), to);
    CHECK_EQ(syscall(SYS_mremap, piece(LEN, 1), LEN, LEN, MOVE_TO, to + LEN), (long)(to + LEN));
    struct remap_stats after = stats_now();
    CHECK_EQ(after.ways[REMAP_WAY_SYMBOL].calls - before.ways[REMAP_WAY_SYMBOL].calls, 1);
    CHECK_EQ(after.ways[REMAP_WAY_SYSCALL].calls - before.ways[REMAP_WAY_SYSCALL].calls, 1);
    CHECK_EQ(after.ways[REMAP_WAY_TRAP].calls, before.ways[REMAP_WAY_TRAP].calls);
}

/* What realloc() does inside libc is one of the calls in assembly, where it is not redirected. */
static void inside_realloc(void)
{
    need_trap();
    uint64_t before = trapped_now();
    char *at = malloc(MIB);
    CHECK(at != NULL);
    fill(at, MIB, 1);
    at = realloc(at, 64 * MIB);
    CHECK(at != NULL);
    CHECK_HOLDS(at, MIB, 1);
    CHECK_GE(trapped_now(), before + 1);
    free(at);
}

static void errors(void)
{
    need_trap();
    char *at = piece(LEN, 1);
    errno = 4711;
    CHECK_EQ(raw_mremap(at + 1, LEN, LEN, MREMAP_MAYMOVE, NULL), -EINVAL);
    CHECK_EQ(raw_mremap(at, LEN, 0, MREMAP_MAYMOVE, NULL), -EINVAL);
    CHECK_EQ(raw_mremap(at, LEN, LEN, MREMAP_FIXED, NULL), -EINVAL);
    CHECK_EQ(raw_mremap(at, LEN, LEN, MOVE_TO, at + PAGE), -EINVAL);
    CHECK_EQ(raw_mremap(at, LEN, LEN, 1 << 20 | MREMAP_MAYMOVE, NULL), -EINVAL);
    CHECK_EQ(raw_mremap(at, LEN, 2 * LEN, 0, NULL), -ENOMEM);
    CHECK_EQ(munmap(at, LEN), 0);
    CHECK_EQ(raw_mremap(at, LEN, LEN, MOVE_TO, reserve(LEN)), -EFAULT);
    CHECK_EQ(errno, 4711);
}

static void growth(void)
{
    need_trap();
    char *area = reserve(4 * LEN);
    CHECK_OK(munmap(area, 4 * LEN));
    char *at = map_at(area, LEN, RW);
    fill(at, LEN, 1);
    uint64_t before = trapped_now();
    CHECK_EQ(raw_mremap(at, LEN, 2 * LEN, MREMAP_MAYMOVE, NULL), (long)at);
    CHECK_EQ(raw_mremap(at, 2 * LEN, 3 * LEN, 0, NULL), (long)at);
    CHECK_EQ(raw_mremap(at, 3 * LEN, LEN, 0, NULL), (long)at);
    CHECK_EQ(trapped_now(), before + 3);
    CHECK_HOLDS(at, LEN, 1);
    map_at(at + LEN, LEN, PROT_NONE);
    long moved_to = raw_mremap(at, LEN, 2 * LEN, MREMAP_MAYMOVE, NULL);
    CHECK(moved_to > 0 && moved_to != (long)at);
    CHECK_HOLDS((char *)moved_to, LEN, 1);
    CHECK(holds_zero((char *)moved_to + LEN, LEN));
}

static void dontunmap(void)
{
    need_trap();
    char *to = reserve(LEN);
    char *at = piece(LEN, 1);
    CHECK_EQ(raw_mremap(at, LEN, LEN, MOVE_TO | MREMAP_DONTUNMAP, to), (long)to);
    CHECK_HOLDS(to, LEN, 1);
    CHECK(holds_zero(at, LEN));
    at = piece(LEN, 2);
    long anywhere = raw_mremap(at, LEN, LEN, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    CHECK(anywhere > 0 && anywhere != (long)at);
    CHECK_HOLDS((char *)anywhere, LEN, 2);
}

static void our_flags(void)
{
    need_trap();
    char *to = reserve(LEN);
    CHECK_EQ(raw_mremap(piece(LEN, 1), LEN, LEN, RELOC, NULL), -EINVAL);
    CHECK_EQ(raw_mremap(piece(LEN, 1), LEN, LEN, MOVE_TO | RELOC, to), (long)to);
    CHECK_HOLDS(to, LEN, 1);
    need_relocation();
    CHECK_EQ(raw_mremap(piece(LEN, 2), LEN, LEN, MOVE_TO | MUST, to), (long)to);
    CHECK_HOLDS(to, LEN, 2);
    char *shared = mmap(NULL, LEN, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    shared[0] = 1;
    CHECK_EQ(raw_mremap(shared, LEN, LEN, MOVE_TO | MUST, to), -EFAULT);
}

/* What a call of ours leaves in the registers must not let a call in assembly pass. */
static void after_ours(void)
{
    need_trap();
    uint64_t before = trapped_now();
    for (int i = 0; i < 100; i++) {
        CHECK_PTR(mremap((void *)1, PAGE, PAGE, 0), MAP_FAILED);
#if defined(__x86_64__)
        long ret;
        register long r10 __asm__("r10") = 0;
        __asm__ volatile("syscall"
                         : "=a"(ret)
                         : "a"(SYS_mremap), "D"(1), "S"(PAGE), "d"(PAGE), "r"(r10)
                         : "rcx", "r11", "memory");
        CHECK_EQ(ret, -EINVAL);
#else
        CHECK_TRAPPED();
#endif
    }
    CHECK_EQ(trapped_now(), before + 100);
}

/* ---- threads, forks ---- */

static void *move_many(void *unused)
{
    (void)unused;
    char *area = reserve(2 * LEN + PAGE);
    char *slot[2] = {area, area + LEN + PAGE};
    map_at(slot[0], LEN, RW);
    fill(slot[0], LEN, 3);
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(raw_mremap(slot[i % 2], LEN, LEN, MOVE_TO, slot[1 - i % 2]),
                 (long)slot[1 - i % 2]);
        CHECK_HOLDS(slot[1 - i % 2], LEN, 3);
    }
    return NULL;
}

static void threads(void)
{
    need_trap();
    pthread_t thread[4];
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    uint64_t before = trapped_now();
    CHECK_EQ(pthread_attr_init(&attributes), 0);
    CHECK_EQ(pthread_create(&thread[0], NULL, move_many, NULL), 0);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &all, &old), 0);
    CHECK_EQ(pthread_create(&thread[1], NULL, move_many, NULL), 0); /* inherits it */
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
#if __GLIBC_PREREQ(2, 32)
    sigset_t read_back;
    CHECK_EQ(pthread_attr_setsigmask_np(&attributes, &all), 0);
    CHECK_EQ(pthread_attr_getsigmask_np(&attributes, &read_back), 0);
    CHECK(same_set(&all, &read_back));
#endif
    CHECK_EQ(pthread_create(&thread[2], &attributes, move_many, NULL), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, stack_of(16 * KIB)), 0);
    CHECK_EQ(pthread_create(&thread[3], &attributes, move_many, NULL), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    }
    CHECK_EQ(trapped_now(), before + 800);
}

static void move_in_child(void *unused)
{
    (void)unused;
    move_trapped();
    CHECK_EQ(trapped_now(), 1);
}

static void forked(void)
{
    need_trap();
    move_trapped();
    in_child(move_in_child, NULL);
    move_trapped();
}

/* ---- other programs ---- */

/* Executes this very program in another environment; it moves a piece and says how it went. */
#define ROLE "--moves"
enum { SEEN = 0, UNSEEN = 10 };

static void move_in_grandchild(void *unused)
{
    (void)unused;
    struct sigaction now;
    CHECK_TRAPPED();
    CHECK(signal(SIGSYS, SIG_IGN) == SIG_DFL);
    CHECK_OK(sigaction(SIGSYS, NULL, &now));
    CHECK(now.sa_handler == SIG_IGN);
}

static int play_role(void)
{
    char *src = piece(LEN, 1);
    char *to = reserve(LEN);
    CHECK_EQ(raw_mremap(src, LEN, LEN, MOVE_TO, to), (long)to);
    CHECK_HOLDS(to, LEN, 1);
    if (shim_loaded()) {
        in_child(move_in_grandchild, NULL);
    }
    return shim_loaded() && trapped_now() > 0 ? SEEN : UNSEEN;
}

static int status_of(const char *env)
{
    struct peer peer = peer_start(env, "/proc/self/exe", ROLE);
    return peer_end(&peer);
}

static void exec_shimmed(void)
{
    need_trap();
    CHECK_EQ(status_of("A=b"), SEEN);
}

static void exec_inert(void)
{
    need_trap();
    CHECK_EQ(WEXITSTATUS(status_of("REMAP_POLICY=off")), UNSEEN);
    CHECK_EQ(WEXITSTATUS(status_of("REMAP_EXE=another")), UNSEEN);
}

static void exec_without(void)
{
    need_trap();
    CHECK_EQ(status_of("LD_PRELOAD="), W_EXITCODE(0, SIGSYS));
}

static void vfork_exec(void)
{
    need_trap();
    volatile pid_t pid = vfork();
    if (pid == 0) {
        CHECK_TRAPPED();
        /* Its own defaults, before exec, are not its parent's. */
        signal(SIGSYS, SIG_DFL);
        execl("/proc/self/exe", "trap", ROLE, (char *)NULL);
        _exit(127);
    }
    CHECK_EQ(test_wait(pid), SEEN);
    move_trapped();
}

/* libc blocks all signals in the child, by a set that it got by another way than our functions. */
static void spawned(void)
{
    need_trap();
    posix_spawnattr_t attributes;
    sigset_t all;
    pid_t pid;
    char *arguments[] = {(char[]){"trap"}, (char[]){ROLE}, NULL};
    sigfillset(&all);
    CHECK_EQ(posix_spawnattr_init(&attributes), 0);
    CHECK_EQ(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK), 0);
    CHECK_EQ(posix_spawnattr_setsigmask(&attributes, &all), 0);
    CHECK_EQ(posix_spawn(&pid, "/proc/self/exe", NULL, &attributes, arguments, environ), 0);
    CHECK_EQ(test_wait(pid), SEEN);
}

/* Before every constructor, where the filter is inherited. */
static long moved_early = -1;

static void before_everything(int argc, char **argv, char **envp)
{
    (void)envp;
    if (argc == 2 && strcmp(argv[1], "--early") == 0) {
        char *at = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        at[0] = 5;
        moved_early =
            raw_mremap(at, PAGE, PAGE, MOVE_TO, at + PAGE) == (long)(at + PAGE) && at[PAGE] == 5;
    }
}

__attribute__((section(".preinit_array"),
               used)) static void (*const preinit)(int, char **, char **) = before_everything;

static void before_main(void)
{
    need_trap();
    struct peer peer = peer_start("A=b", "/proc/self/exe", "--early");
    CHECK_EQ(peer_end(&peer), SEEN);
}

/* ---- where it is refused ---- */

/* Runs `lone` and takes the numbers that it prints. */
struct lone {
    int seen, why, error, calls, action, nnp, descriptors;
};

static struct lone run_program(const char *program, const char *env)
{
    struct lone l = {0};
    char line[128];
    struct peer peer = peer_start(env, program, NULL);
    FILE *from = fdopen(dup(peer.from), "r");
    CHECK(from != NULL && fgets(line, sizeof(line), from) != NULL);
    fclose(from);
    CHECK_EQ(peer_end(&peer), 0);
    CHECK_EQ(sscanf(line, "%d %d %d %d %d %d %d", &l.seen, &l.why, &l.error, &l.calls, &l.action,
                    &l.nnp, &l.descriptors),
             7);
    return l;
}

static struct lone run_lone(const char *env)
{
    return run_program("lone", env);
}

static void refused_by_guard(void)
{
    struct remap_stats s = stats_now();
    CHECK_EQ(s.ways[REMAP_WAY_TRAP].why, REMAP_WHY_CHILDREN);
    CHECK_EQ(s.ways[REMAP_WAY_TRAP].seen, 0);
    CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
    CHECK_EQ(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 0);
    char *to = reserve(LEN);
    CHECK_EQ(raw_mremap(piece(LEN, 1), LEN, LEN, MOVE_TO, to), (long)to);
    CHECK_EQ(trapped_now(), 0);
    CHECK_EQ(status_of("LD_PRELOAD="), W_EXITCODE(UNSEEN, 0));
}

static void allowed_by_guard(void)
{
    struct lone l = run_lone("REMAP_CATCH=trap");
    if (l.why == REMAP_WHY_FILTER) {
        test_skip("no seccomp filter may be installed: %s", strerror(l.error));
    }
    CHECK_EQ(l.why, REMAP_WHY_NONE);
    CHECK_EQ(l.seen, 1);
    CHECK_EQ(l.calls, 1);
    CHECK_EQ(l.action, 2);
    CHECK_EQ(l.nnp, 1);
}

/* What it starts would not have the library. */
static void linked_not_preloaded(void)
{
    const char *program = "lone_linked";
    struct lone l = run_program(program, "LD_PRELOAD= REMAP_CATCH=trap REMAP_LOG=error");
    CHECK_EQ(l.why, REMAP_WHY_CHILDREN);
    CHECK_EQ(l.action, 0);
    CHECK_EQ(l.nnp, 0);
    l = run_program(program, "LD_PRELOAD= REMAP_CATCH=trap REMAP_TRAP=always REMAP_LOG=error");
    if (l.why == REMAP_WHY_FILTER) {
        test_skip("no seccomp filter may be installed: %s", strerror(l.error));
    }
    CHECK_EQ(l.seen, 1);
    CHECK_EQ(l.calls, 1);
}

static void not_asked_for(void)
{
    struct lone l = run_lone("REMAP_CATCH=symbol,syscall,realloc");
    CHECK_EQ(l.why, REMAP_WHY_NOT_ASKED);
    CHECK_EQ(l.seen, 0);
    CHECK_EQ(l.action, 0);
    CHECK_EQ(l.nnp, 0);
}

static void no_more_descriptors(void)
{
    struct lone plain = run_lone("REMAP_CATCH=symbol");
    struct lone trapped = run_lone("REMAP_CATCH=trap");
    CHECK_EQ(trapped.descriptors, plain.descriptors);
}

static void no_libseccomp(void)
{
    char dir[256];
    char text[400];
    temp_dir(dir, sizeof(dir));
    snprintf(text, sizeof(text), "%s/libseccomp.so.2", dir);
    CHECK(close(open(text, O_CREAT | O_WRONLY, 0600)) == 0);
    snprintf(text, sizeof(text), "REMAP_CATCH=trap REMAP_LOG=error LD_LIBRARY_PATH=%s", dir);
    struct lone l = run_lone(text);
    CHECK_EQ(l.why, REMAP_WHY_LIBSECCOMP);
    CHECK_EQ(l.seen, 0);
    CHECK_EQ(l.calls, 0);
    CHECK_EQ(l.action, 0);
    CHECK_EQ(l.nnp, 0);
}

/* A container's profile that lets no further filter be set; and one that has something to say. */
static void filter_refused(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    CHECK(filter != NULL);
    CHECK_EQ(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(seccomp), 0), 0);
    const struct scmp_arg_cmp adds_filter = {
        .arg = 0,
        .op = SCMP_CMP_EQ,
        .datum_a = PR_SET_SECCOMP,
    };
    CHECK_EQ(
        seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prctl), 1, &adds_filter), 0);
    load_filter(filter);
    struct lone l = run_lone("REMAP_CATCH=trap REMAP_LOG=error");
    CHECK_EQ(l.why, REMAP_WHY_FILTER);
    CHECK_EQ(l.error, EPERM);
    CHECK_EQ(l.seen, 0);
    CHECK_EQ(l.action, 0);
}

/* Another's filter is not taken for ours, and the program lives on as without us. */
static void filter_of_another(void)
{
    trap_getppid();
    struct lone l = run_lone("REMAP_CATCH=trap");
    CHECK_EQ(l.why, REMAP_WHY_NONE);
    CHECK_EQ(l.calls, 1);
}

/* An observer in line makes libc's call, which is trapped in turn and is not ours to decide. */
static void other_preload(void)
{
    char exe[400];
    char env[900];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 20);
    CHECK(n > 0);
    exe[n] = '\0';
    memcpy(strrchr(exe, '/') + 1, "libcounting.so", 15);
    for (int first = 0; first < 2; first++) {
        const char *shim = getenv("LD_PRELOAD");
        CHECK(shim != NULL);
        snprintf(env, sizeof(env), "LD_PRELOAD=%s:%s", first ? exe : shim, first ? shim : exe);
        CHECK_EQ(status_of(env), SEEN);
    }
}

static const struct test_case cases[] = {
    {"moved", moved, TRAP},
    {"other_ways", other_ways, TRAP},
    {"inside_realloc", inside_realloc, TRAP},
    {"errors", errors, TRAP},
    {"growth", growth, TRAP},
    {"dontunmap", dontunmap, TRAP},
    {"our_flags", our_flags, TRAP},
    {"after_ours", after_ours, TRAP},
    {"threads", threads, TRAP},
    {"forked", forked, TRAP},
    {"exec_shimmed", exec_shimmed, TRAP},
    {"exec_inert", exec_inert, TRAP},
    {"exec_without", exec_without, TRAP},
    {"vfork_exec", vfork_exec, TRAP},
    {"spawned", spawned, TRAP},
    {"before_main", before_main, TRAP},
    {"refused_by_guard", refused_by_guard, "REMAP_CATCH=symbol,trap REMAP_LOG=error"},
    {"allowed_by_guard", allowed_by_guard, NULL},
    {"not_asked_for", not_asked_for, NULL},
    {"linked_not_preloaded", linked_not_preloaded, NULL},
    {"no_more_descriptors", no_more_descriptors, NULL},
    {"no_libseccomp", no_libseccomp, NULL},
    {"filter_refused", filter_refused, NULL},
    {"filter_of_another", filter_of_another, NULL},
    {"other_preload", other_preload, TRAP},
};

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], ROLE) == 0) {
        return play_role();
    }
    if (argc == 2 && strcmp(argv[1], "--early") == 0) {
        return moved_early == 1 ? play_role() : UNSEEN;
    }
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
