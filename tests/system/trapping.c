/* SPDX-License-Identifier: MIT */
#include "trapping.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

volatile sig_atomic_t signals_seen;
siginfo_t signal_info;

void need_trap(void)
{
    struct remap_stats s = stats_now();
    const struct remap_stats_way *way = &s.ways[REMAP_WAY_TRAP];
    if (way->why == REMAP_WHY_FILTER) {
        test_skip("no seccomp filter may be installed: %s", strerror(way->error));
    }
    CHECK_EQ(way->why, REMAP_WHY_NONE);
    CHECK_EQ(way->seen, 1);
}

uint64_t trapped_now(void)
{
    return stats_now().ways[REMAP_WAY_TRAP].calls;
}

void move_trapped(void)
{
    char *area = map_at(reserve(5 * PAGE), PAGE, RW);
    fill(area, PAGE, 1);
    char *src = piece(4 * PAGE, 2);
    uint64_t before = trapped_now();
    CHECK_EQ(raw_mremap(src, 4 * PAGE, 4 * PAGE, MOVE_TO, area + PAGE), (long)(area + PAGE));
    CHECK_EQ(trapped_now(), before + 1);
    CHECK_HOLDS(area, PAGE, 1);
    CHECK_HOLDS(area + PAGE, 4 * PAGE, 2);
    CHECK_EQ(mapped_in(src, 4 * PAGE), 0);
    if (can_relocate()) {
        CHECK_EQ(vmas_in(area, 5 * PAGE), 1);
    }
}

bool same_set(const sigset_t *a, const sigset_t *b)
{
    bool same = true;
    for (int sig = 1; sig <= SIGRTMAX; sig++) {
        if (sigismember(a, sig) != sigismember(b, sig)) {
            fprintf(stderr, "signal %d: %d and %d\n", sig, sigismember(a, sig),
                    sigismember(b, sig));
            same = false;
        }
    }
    return same;
}

void count_signal(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)context;
    signals_seen++;
    signal_info = *info;
}

void handle(int sig, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    CHECK_OK(sigaction(sig, &action, NULL));
}

void dies_of_sigsys(void (*body)(void *))
{
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    int status = test_wait(start_child(body, NULL));
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSYS);
}

void load_filter(scmp_filter_ctx filter)
{
    int ret = seccomp_load(filter);
    if (ret != 0) {
        test_skip("no seccomp filter may be installed: %s", strerror(-ret));
    }
    seccomp_release(filter);
}

void trap_getppid(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    CHECK(filter != NULL);
    CHECK_EQ(seccomp_rule_add(filter, SCMP_ACT_TRAP, SCMP_SYS(getppid), 0), 0);
    load_filter(filter);
}
