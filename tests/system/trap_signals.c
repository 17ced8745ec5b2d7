/* SPDX-License-Identifier: MIT */
/*
 * REMAP_CATCH=trap and the program's own signals: its SIGSYS handler, its masks and its alternate
 * stack are as it set them, and whatever it blocks, a trapped call does not kill.
 */
#include "trapping.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define LEN (4 * PAGE)

/* ---- the program's SIGSYS ---- */

static void own_handler(void)
{
    need_trap();
    struct sigaction action = {.sa_sigaction = count_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigaction read_back;
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaddset(&action.sa_mask, SIGSYS);
    CHECK_OK(sigaction(SIGSYS, NULL, &read_back));
    CHECK(read_back.sa_handler == SIG_DFL);
    CHECK_OK(sigaction(SIGSYS, &action, NULL));
    CHECK_OK(sigaction(SIGSYS, NULL, &read_back));
    CHECK(read_back.sa_sigaction == count_signal);
    CHECK_EQ(read_back.sa_flags, action.sa_flags);
    CHECK(same_set(&read_back.sa_mask, &action.sa_mask));
    CHECK_OK(kill(getpid(), SIGSYS));
    CHECK_EQ(signals_seen, 1);
    CHECK_EQ(signal_info.si_signo, SIGSYS);
    CHECK_EQ(signal_info.si_code, SI_USER);
    CHECK_EQ(signal_info.si_pid, getpid());
    union sigval value = {.sival_int = 4711};
    CHECK_OK(sigqueue(getpid(), SIGSYS, value));
    CHECK_EQ(signals_seen, 2);
    CHECK_EQ(signal_info.si_code, SI_QUEUE);
    CHECK_EQ(signal_info.si_value.sival_int, 4711);
    move_trapped();
    CHECK_EQ(signals_seen, 2);
}

/* The program's own filter: its handler stands in for the kernel. */
static void answer_getppid(int sig, siginfo_t *info, void *argument)
{
    ucontext_t *context = argument;
    count_signal(sig, info, argument);
#if defined(__x86_64__)
    context->uc_mcontext.gregs[REG_RAX] = 4711;
#elif defined(__aarch64__)
    context->uc_mcontext.regs[0] = 4711;
#endif
}

static void own_filter(void)
{
    need_trap();
    trap_getppid();
    handle(SIGSYS, answer_getppid, 0);
    CHECK_EQ(raw_syscall(SYS_getppid, 0, 0, 0, 0, 0, 0), 4711);
    CHECK_EQ(signals_seen, 1);
    CHECK_EQ(signal_info.si_code, 1 /* SYS_SECCOMP */);
    CHECK_EQ(signal_info.si_syscall, SYS_getppid);
    move_trapped();
    CHECK_EQ(raw_syscall(SYS_getppid, 0, 0, 0, 0, 0, 0), 4711);
    CHECK_EQ(signals_seen, 2);
}

static void ignored(void)
{
    need_trap();
    CHECK(signal(SIGSYS, SIG_IGN) == SIG_DFL);
    CHECK_OK(raise(SIGSYS));
    CHECK_OK(kill(getpid(), SIGSYS));
    move_trapped();
    CHECK(signal(SIGSYS, SIG_DFL) == SIG_IGN);
    move_trapped();
}

static void raise_it(void *unused)
{
    (void)unused;
    raise(SIGSYS);
}

static void kill_it(void *unused)
{
    (void)unused;
    kill(getpid(), SIGSYS);
}

static void call_getppid(void *unused)
{
    (void)unused;
    raw_syscall(SYS_getppid, 0, 0, 0, 0, 0, 0);
}

static void ignore_and_call(void *unused)
{
    signal(SIGSYS, SIG_IGN);
    call_getppid(unused);
}

static void block_and_call(void *unused)
{
    sigset_t set;
    sigfillset(&set);
    handle(SIGSYS, count_signal, 0);
    sigprocmask(SIG_SETMASK, &set, NULL);
    call_getppid(unused);
}

static void reset_and_raise(void *unused)
{
    (void)unused;
    handle(SIGSYS, count_signal, (int)SA_RESETHAND);
    raise(SIGSYS);
    CHECK_EQ(signals_seen, 1);
    struct sigaction now;
    CHECK_OK(sigaction(SIGSYS, NULL, &now));
    CHECK(now.sa_handler == SIG_DFL);
    move_trapped();
    raise(SIGSYS);
}

static void deaths(void)
{
    need_trap();
    dies_of_sigsys(raise_it);
    dies_of_sigsys(kill_it);
    dies_of_sigsys(reset_and_raise);
    /* What a filter does cannot be ignored, nor blocked. */
    trap_getppid();
    dies_of_sigsys(call_getppid);
    dies_of_sigsys(ignore_and_call);
    dies_of_sigsys(block_and_call);
}

/* Masks while the handler runs, and after it. */
static sigset_t mask_inside;
static volatile int depth, deepest;

static void look_inside(int sig, siginfo_t *info, void *context)
{
    count_signal(sig, info, context);
    depth++;
    deepest = depth > deepest ? depth : deepest;
    sigprocmask(SIG_BLOCK, NULL, &mask_inside);
    CHECK_TRAPPED();
    if (signals_seen == 1) {
        raise(SIGSYS);
    }
    depth--;
}

static void handler_masks(void)
{
    need_trap();
    struct sigaction action = {.sa_sigaction = look_inside, .sa_flags = SA_SIGINFO};
    sigset_t expected;
    sigset_t after;
    sigaddset(&action.sa_mask, SIGUSR2);
    CHECK_OK(sigaction(SIGSYS, &action, NULL));
    CHECK_OK(raise(SIGSYS));
    CHECK_EQ(signals_seen, 2); /* the second when the first had returned */
    CHECK_EQ(deepest, 1);
    sigemptyset(&expected);
    CHECK_OK(sigprocmask(SIG_BLOCK, NULL, &after));
    CHECK(same_set(&after, &expected));
    sigaddset(&expected, SIGUSR2);
    sigaddset(&expected, SIGSYS);
    CHECK(same_set(&mask_inside, &expected));

    signals_seen = deepest = 0;
    action.sa_flags |= SA_NODEFER;
    CHECK_OK(sigaction(SIGSYS, &action, NULL));
    CHECK_OK(raise(SIGSYS));
    CHECK_EQ(signals_seen, 2);
    CHECK_EQ(deepest, 2);
    sigdelset(&expected, SIGSYS);
    CHECK(same_set(&mask_inside, &expected));
}

/* What the handler writes into the context's mask takes effect on its return. */
static void block_in_context(int sig, siginfo_t *info, void *argument)
{
    ucontext_t *context = argument;
    count_signal(sig, info, argument);
    CHECK_EQ(sigismember(&context->uc_sigmask, SIGSYS), 0);
    CHECK_EQ(sigismember(&context->uc_sigmask, SIGUSR1), 1);
    sigaddset(&context->uc_sigmask, SIGSYS);
}

static void context_mask(void)
{
    need_trap();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK_OK(sigprocmask(SIG_SETMASK, &set, NULL));
    handle(SIGSYS, block_in_context, 0);
    CHECK_OK(raise(SIGSYS));
    CHECK_EQ(signals_seen, 1);
    CHECK_OK(sigprocmask(SIG_SETMASK, NULL, &set));
    CHECK_EQ(sigismember(&set, SIGSYS), 1);
    move_trapped();
    CHECK_OK(raise(SIGSYS));
    CHECK_EQ(signals_seen, 1);
}

/* Out of the handler by siglongjmp(), as programs do that find out what a sandbox allows. */
static sigjmp_buf way_out;

static void jump(int sig, siginfo_t *info, void *context)
{
    count_signal(sig, info, context);
    siglongjmp(way_out, 1);
}

static void jumps(void)
{
    need_trap();
    handle(SIGSYS, jump, 0);
    for (int i = 1; i <= 3; i++) {
        sigset_t now;
        if (sigsetjmp(way_out, 1) == 0) {
            raise(SIGSYS);
            test_fail(__FILE__, __LINE__, "no jump");
        }
        CHECK_EQ(signals_seen, i);
        CHECK_OK(sigprocmask(SIG_BLOCK, NULL, &now));
        CHECK_EQ(sigismember(&now, SIGSYS), 0);
        move_trapped();
    }
}

/* ---- the alternate stack ---- */

static char *stack_low, *stack_high;
static volatile bool on_alternate;

static void where(int sig, siginfo_t *info, void *context)
{
    char here;
    count_signal(sig, info, context);
    on_alternate = &here >= stack_low && &here < stack_high;
}

static void give_stack(size_t size)
{
    /* A page below that no one may touch shows what overflows. */
    stack_low = map_at(reserve(size + PAGE) + PAGE, size, RW);
    stack_high = stack_low + size;
    stack_t stack = {.ss_sp = stack_low, .ss_size = size};
    if (sigaltstack(&stack, NULL) != 0) {
        test_skip("an alternate stack of %zu bytes: %s", size, strerror(errno));
    }
}

static void alternate_stack(void)
{
    need_trap();
    give_stack(64 * KIB);
    handle(SIGSYS, where, SA_ONSTACK);
    CHECK_OK(raise(SIGSYS));
    CHECK(on_alternate);
    move_trapped();
    handle(SIGSYS, where, 0);
    CHECK_OK(raise(SIGSYS));
    CHECK(!on_alternate);
    CHECK_EQ(signals_seen, 2);
    move_trapped();
}

/* As small as the system says a handler's stack may be; and smaller, where the program has put no
 * SIGSYS handler on it. */
static void small_alternate_stack(void)
{
    need_trap();
    long size = sysconf(_SC_SIGSTKSZ);
    give_stack(size > (long)(8 * KIB) ? (size_t)size : 8 * KIB);
    handle(SIGSYS, where, SA_ONSTACK);
    CHECK_OK(raise(SIGSYS));
    CHECK(on_alternate);
    for (int i = 0; i < 3; i++) {
        move_trapped();
    }
    handle(SIGSYS, where, 0);
    size = sysconf(_SC_MINSIGSTKSZ);
    give_stack(size > 2048 ? (size_t)size : 2048);
    CHECK_OK(raise(SIGSYS));
    CHECK(!on_alternate);
    move_trapped();
}

/* ---- masks ---- */

static void check_mask(const sigset_t *expected)
{
    sigset_t now;
    CHECK_OK(sigprocmask(SIG_BLOCK, NULL, &now));
    CHECK(same_set(&now, expected));
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
    CHECK(same_set(&now, expected));
    move_trapped();
}

static void all_blocked(void)
{
    need_trap();
    sigset_t none;
    sigset_t all;
    sigset_t some;
    sigset_t old;
    sigemptyset(&none);
    check_mask(&none);
    sigfillset(&all);
    CHECK_OK(sigprocmask(SIG_BLOCK, &all, &old));
    CHECK(same_set(&old, &none));
    sigdelset(&all, SIGKILL);
    sigdelset(&all, SIGSTOP);
    check_mask(&all);
    sigemptyset(&some);
    sigaddset(&some, SIGSYS);
    CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &some, &old), 0);
    CHECK(same_set(&old, &all));
    sigdelset(&all, SIGSYS);
    check_mask(&all);
    CHECK_OK(sigprocmask(SIG_SETMASK, &none, &old));
    CHECK(same_set(&old, &all));
    check_mask(&none);
    sigaddset(&some, SIGUSR1);
    CHECK_OK(sigprocmask(SIG_SETMASK, &some, NULL));
    check_mask(&some);
    CHECK_ERRNO(sigprocmask(4711, &some, NULL), EINVAL);
    CHECK_EQ(pthread_sigmask(4711, &some, NULL), EINVAL);
    check_mask(&some);
}

static volatile sig_atomic_t moved_inside;

static void move_inside(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)info;
    (void)context;
    move_trapped();
    moved_inside++;
}

/* The handler of another signal, with everything blocked. */
static void full_mask_inside(void)
{
    need_trap();
    struct sigaction action = {.sa_sigaction = move_inside, .sa_flags = SA_SIGINFO};
    struct sigaction old;
    sigset_t expected;
    sigfillset(&action.sa_mask);
    CHECK_OK(sigaction(SIGUSR1, &action, NULL));
    CHECK_OK(sigaction(SIGUSR1, NULL, &old));
    expected = action.sa_mask;
    sigdelset(&expected, SIGKILL); /* so the kernel */
    sigdelset(&expected, SIGSTOP);
    CHECK(same_set(&old.sa_mask, &expected));
    CHECK(old.sa_sigaction == move_inside);
    CHECK_OK(raise(SIGUSR1));
    CHECK_EQ(moved_inside, 1);
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGSYS);
    CHECK_OK(sigaction(SIGUSR1, &action, NULL));
    CHECK_OK(sigaction(SIGUSR1, NULL, &old));
    CHECK(same_set(&old.sa_mask, &action.sa_mask));
    /* It takes effect: a SIGSYS waits until the handler is done. */
    CHECK_OK(raise(SIGUSR1));
    CHECK_EQ(moved_inside, 2);
}

/* Calls that wait with a mask: the handler moves memory under it. */
static void waiting(void)
{
    need_trap();
    sigset_t all_but_one;
    sigset_t usr1;
    struct timespec long_time = {60, 0};
    struct epoll_event event;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    sigfillset(&all_but_one);
    sigdelset(&all_but_one, SIGUSR1);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    CHECK_OK(sigprocmask(SIG_BLOCK, &usr1, NULL));
    handle(SIGUSR1, move_inside, 0);

    CHECK_OK(raise(SIGUSR1));
    CHECK_ERRNO(sigsuspend(&all_but_one), EINTR);
    CHECK_OK(raise(SIGUSR1));
    CHECK_ERRNO(pselect(0, NULL, NULL, NULL, &long_time, &all_but_one), EINTR);
    CHECK_OK(raise(SIGUSR1));
    CHECK_ERRNO(ppoll(NULL, 0, &long_time, &all_but_one), EINTR);
    CHECK_OK(raise(SIGUSR1));
    CHECK_ERRNO(epoll_pwait(epoll, &event, 1, 60000, &all_but_one), EINTR);
    CHECK_EQ(moved_inside, 4);
    check_mask(&usr1);
}

/* A SIGSYS that came while it was blocked. */
static void pending(void)
{
    need_trap();
    sigset_t set;
    sigset_t now;
    sigset_t none;
    siginfo_t info;
    int sig;
    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    handle(SIGSYS, count_signal, 0);
    CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    CHECK_OK(kill(getpid(), SIGSYS));
    CHECK_EQ(signals_seen, 0);
    CHECK_OK(sigpending(&now));
    CHECK(same_set(&now, &set));
    move_trapped();
    CHECK_OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
    CHECK_EQ(signals_seen, 1);
    CHECK_EQ(signal_info.si_signo, SIGSYS);
    CHECK_EQ(signal_info.si_code, SI_USER);
    CHECK_EQ(signal_info.si_errno, 0);
    CHECK_EQ(signal_info.si_pid, getpid());
    CHECK_OK(sigpending(&now));
    CHECK(same_set(&now, &none));

    CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    CHECK_OK(raise(SIGSYS));
    CHECK_EQ(sigwaitinfo(&set, &info), SIGSYS);
    CHECK_EQ(info.si_signo, SIGSYS);
    CHECK_EQ(info.si_code, SI_USER); /* so libc */
    CHECK_OK(raise(SIGSYS));
    CHECK_EQ(sigwait(&set, &sig), 0);
    CHECK_EQ(sig, SIGSYS);
    struct timespec short_time = {0, 1};
    CHECK_ERRNO(sigtimedwait(&set, &info, &short_time), EAGAIN);
    CHECK_OK(raise(SIGSYS));
    CHECK_ERRNO(sigsuspend(&none), EINTR);
    CHECK_EQ(signals_seen, 2);
}

/* The functions of old. */
static void old_count(int sig)
{
    (void)sig;
    signals_seen++;
}

#define BIT(sig) (1 << ((sig)-1))
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void old_functions(void)
{
    need_trap();
    sigset_t all;
    sigset_t none;
    sigfillset(&all);
    sigemptyset(&none);
    CHECK(signal(SIGSYS, old_count) == SIG_DFL);
    CHECK(sysv_signal(SIGSYS, old_count) == old_count);
    CHECK_OK(raise(SIGSYS));
    CHECK_EQ(signals_seen, 1);
    CHECK(ssignal(SIGSYS, old_count) == SIG_DFL); /* it was for once */
    CHECK_OK(siginterrupt(SIGSYS, 1));
    struct sigaction now;
    CHECK_OK(sigaction(SIGSYS, NULL, &now));
    CHECK_EQ(now.sa_flags & SA_RESTART, 0);

    CHECK_OK(sighold(SIGSYS));
    CHECK_OK(raise(SIGSYS));
    CHECK_EQ(signals_seen, 1);
    move_trapped();
    CHECK_OK(sigrelse(SIGSYS));
    CHECK_EQ(signals_seen, 2);
    CHECK(sigset(SIGSYS, SIG_HOLD) == old_count);
    CHECK(sigset(SIGSYS, SIG_HOLD) == SIG_HOLD);
    CHECK(sigset(SIGSYS, old_count) == SIG_HOLD);
    CHECK(sigset(SIGSYS, old_count) == old_count);
    CHECK_OK(sigignore(SIGSYS));
    CHECK_OK(raise(SIGSYS));
    CHECK_EQ(signals_seen, 2);
    CHECK(signal(SIGSYS, SIG_DFL) == SIG_IGN);
    CHECK_ERRNO(signal(SIGSYS, SIG_ERR) == SIG_ERR ? -1 : 0, EINVAL);

    int mask = BIT(SIGSYS) | BIT(SIGUSR1);
    CHECK_EQ(sigblock(mask), 0);
    CHECK_EQ(sigblock(0), mask);
    move_trapped();
    CHECK_EQ(sigsetmask(~0), mask);
    move_trapped();
    /* Not these two, nor the 32nd, which is libc's own. */
    CHECK_EQ(sigsetmask(0), INT_MAX & ~(BIT(SIGKILL) | BIT(SIGSTOP)));
    CHECK_EQ(sigblock(0), 0);
    /* Others' signals go where they went. */
    CHECK(signal(SIGUSR1, old_count) == SIG_DFL);
    CHECK(signal(SIGUSR1, SIG_IGN) == old_count);
    CHECK_ERRNO(sigaction(65, NULL, &now), EINVAL);
}
#pragma GCC diagnostic pop

/* ---- many at once ---- */

static volatile sig_atomic_t alarms;

static void on_alarm(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)info;
    (void)context;
    static char *slot[2];
    static unsigned at;
    if (!slot[0]) {
        slot[0] = piece(LEN, 9);
        slot[1] = reserve(LEN);
    }
    CHECK_EQ(raw_mremap(slot[at], LEN, LEN, MOVE_TO, slot[1 - at]), (long)slot[1 - at]);
    at = 1 - at;
    CHECK_HOLDS(slot[at], LEN, 9);
    raise(SIGSYS);
    alarms++;
}

static void storm(void)
{
    need_trap();
    handle(SIGSYS, count_signal, 0);
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_RESTART};
    CHECK_OK(sigaction(SIGALRM, &action, NULL));
    struct itimerval timer = {{0, 100}, {0, 100}};
    CHECK_OK(setitimer(ITIMER_REAL, &timer, NULL));
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, SIGALRM);
    char *slot[2] = {piece(LEN, 1), reserve(LEN)};
    long long deadline = now_ms() + 60000;
    for (unsigned i = 0; alarms < 300 && now_ms() < deadline; i++) {
        sigset_t old;
        CHECK_OK(sigprocmask(SIG_SETMASK, &all, &old));
        CHECK_EQ(raw_mremap(slot[i % 2], LEN, LEN, MOVE_TO, slot[1 - i % 2]),
                 (long)slot[1 - i % 2]);
        CHECK_OK(sigprocmask(SIG_SETMASK, &old, NULL));
        CHECK_HOLDS(slot[1 - i % 2], LEN, 1);
    }
    struct itimerval never = {{0, 0}, {0, 0}};
    CHECK_OK(setitimer(ITIMER_REAL, &never, NULL));
    CHECK_GE(alarms, 300);
    CHECK_GE(signals_seen, 1);
}

/* ---- many, and too many ---- */

static volatile sig_atomic_t handlers_inside;
static volatile sig_atomic_t handlers_inside_most;

static void nest(int sig)
{
    (void)sig;
    handlers_inside++;
    if (handlers_inside > handlers_inside_most)
        handlers_inside_most = handlers_inside;
    handlers_inside--;
}

/* However fast they come, one is handled after the other. */
static void flood(void)
{
    need_trap();
    struct sigaction action = {.sa_handler = nest, .sa_flags = SA_RESTART};
    CHECK_OK(sigaction(SIGSYS, &action, NULL));
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        for (int i = 0; i < 100000; i++)
            kill(getppid(), SIGSYS);
        _exit(0);
    }
    CHECK_EQ(test_wait(pid), 0);
    CHECK_EQ(handlers_inside_most, 1);
    move_trapped();
}

/* The kernel drops what comes with a signal when too many are pending: it is SIGSYS still. */
static void no_room_for_signals(void)
{
    need_trap();
    struct rlimit none = {0, 0};
    struct sigaction action = {.sa_sigaction = count_signal, .sa_flags = SA_SIGINFO};
    sigset_t set;
    if (geteuid() == 0) /* root is not limited */
        CHECK_OK(setresuid(65534, 65534, 65534));
    CHECK_OK(setrlimit(RLIMIT_SIGPENDING, &none));
    CHECK_OK(sigaction(SIGSYS, &action, NULL));
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    CHECK_OK(kill(getpid(), SIGSYS));
    CHECK_EQ(signals_seen, 0);
    CHECK_OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
    CHECK_EQ(signals_seen, 1);
    CHECK_EQ(signal_info.si_signo, SIGSYS);
}

static const struct test_case cases[] = {
    {"own_handler", own_handler, TRAP},
    {"own_filter", own_filter, TRAP},
    {"ignored", ignored, TRAP},
    {"deaths", deaths, TRAP},
    {"handler_masks", handler_masks, TRAP},
    {"context_mask", context_mask, TRAP},
    {"jumps", jumps, TRAP},
    {"alternate_stack", alternate_stack, TRAP},
    {"small_alternate_stack", small_alternate_stack, TRAP},
    {"all_blocked", all_blocked, TRAP},
    {"full_mask_inside", full_mask_inside, TRAP},
    {"waiting", waiting, TRAP},
    {"pending", pending, TRAP},
    {"old_functions", old_functions, TRAP},
    {"storm", storm, TRAP},
    {"flood", flood, TRAP},
    {"no_room_for_signals", no_room_for_signals, TRAP},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
