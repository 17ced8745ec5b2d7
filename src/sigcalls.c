/* SPDX-License-Identifier: MIT */
#undef _FORTIFY_SOURCE /* its inline ppoll() would be in the way of ours */
#include "sigcalls.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "signals.h"

#define EXPORT __attribute__((visibility("default")))

/* X(name, result, parameter...) */
#define CALLS(X)                                                                                   \
    X(sigaction, int, int, const struct sigaction *, struct sigaction *)                           \
    X(signal, handler, int, handler)                                                               \
    X(sigprocmask, int, int, const sigset_t *, sigset_t *)                                         \
    X(pthread_sigmask, int, int, const sigset_t *, sigset_t *)                                     \
    X(__sigaction, int, int, const struct sigaction *, struct sigaction *)                         \
    X(bsd_signal, handler, int, handler)                                                           \
    X(ssignal, handler, int, handler)                                                              \
    X(sysv_signal, handler, int, handler)                                                          \
    X(__sysv_signal, handler, int, handler)                                                        \
    X(siginterrupt, int, int, int)                                                                 \
    X(sigset, handler, int, handler)                                                               \
    X(sighold, int, int)                                                                           \
    X(sigrelse, int, int)                                                                          \
    X(sigignore, int, int)                                                                         \
    X(sigblock, int, int)                                                                          \
    X(sigsetmask, int, int)                                                                        \
    X(siggetmask, int, void)                                                                       \
    X(sigpause, int, int)                                                                          \
    X(__xpg_sigpause, int, int)                                                                    \
    X(sigsuspend, int, const sigset_t *)                                                           \
    X(__sigsuspend, int, const sigset_t *)                                                         \
    X(sigpending, int, sigset_t *)                                                                 \
    X(sigwait, int, const sigset_t *, int *)                                                       \
    X(sigwaitinfo, int, const sigset_t *, siginfo_t *)                                             \
    X(sigtimedwait, int, const sigset_t *, siginfo_t *, const struct timespec *)                   \
    X(pselect, int, int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *)  \
    X(ppoll, int, struct pollfd *, nfds_t, const struct timespec *, const sigset_t *)              \
    X(__ppoll_chk, int, struct pollfd *, nfds_t, const struct timespec *, const sigset_t *,        \
      size_t)                                                                                      \
    X(epoll_pwait, int, int, struct epoll_event *, int, int, const sigset_t *)                     \
    X(epoll_pwait2, int, int, struct epoll_event *, int, const struct timespec *,                  \
      const sigset_t *)                                                                            \
    X(pthread_attr_setsigmask_np, int, pthread_attr_t *, const sigset_t *)                         \
    X(pthread_attr_getsigmask_np, int, const pthread_attr_t *, sigset_t *)

typedef void (*handler)(int);

#define TYPE_(name, result, ...) typedef result (*type_##name)(__VA_ARGS__);
CALLS(TYPE_)
#undef TYPE_
#define NUMBER_(name, result, ...) CALL_##name,
enum call { CALLS(NUMBER_) CALL_COUNT };
#undef NUMBER_
#define NAME_(name, result, ...) #name,
static const char *const names[] = {CALLS(NAME_)};
#undef NAME_

static uintptr_t next[CALL_COUNT];

__attribute__((cold, noinline)) static uintptr_t look_up(enum call call)
{
    next[call] = (uintptr_t)dlsym(RTLD_NEXT, names[call]);
    return next[call];
}

static inline uintptr_t next_of(enum call call)
{
    uintptr_t found = next[call];
    return __builtin_expect(found != 0, 1) ? found : look_up(call);
}

void sigcalls_begin(void)
{
    for (enum call call = 0; call < CALL_COUNT; call++)
        look_up(call);
    (void)dlerror(); /* libc may lack one; the program's own dlerror() shall not find it */
}

#define NEXT(name) ((type_##name)next_of(CALL_##name))
/* A libc that has no such function is one that knows no such system call. */
#define PASS_ON(name, ...)                                                                         \
    do {                                                                                           \
        if (!signals_taken())                                                                      \
            return NEXT(name) ? NEXT(name)(__VA_ARGS__) : (errno = ENOSYS, -1);                    \
    } while (0)
#define PASS_HANDLER_ON(name, ...)                                                                 \
    do {                                                                                           \
        if (!signals_taken() || !signals_is_ours(sig))                                             \
            return NEXT(name) ? NEXT(name)(__VA_ARGS__) : (errno = ENOSYS, SIG_ERR);               \
    } while (0)

/* ---- sets ---- */

/* The kernel's set is the first word of libc's. */
static k_sigset word(const sigset_t *set)
{
    k_sigset value;
    __builtin_memcpy(&value, set, sizeof(value));
    return value;
}

static void put_word(sigset_t *set, k_sigset value)
{
    __builtin_memcpy(set, &value, sizeof(value));
}

/* A copy for the kernel; NULL if there is none. */
static const sigset_t *translated(const sigset_t *set, sigset_t *copy)
{
    if (!set)
        return NULL;
    *copy = *set;
    put_word(copy, signals_to_kernel(word(set)));
    return copy;
}

static k_sigset only(int sig)
{
    return SIGNALS_BIT(sig);
}

/* ---- actions ---- */

/* Bit n - 1: signal n has a mask in which SIGSYS and the stand-in are not alike. */
static k_sigset masks_that_differ;

static int our_action(int sig, const struct sigaction *act, struct sigaction *old)
{
    struct signals_action before;
    if (act) {
        struct signals_action wanted = {
            .handler = (uintptr_t)act->sa_sigaction,
            .flags = act->sa_flags,
            .mask = word(&act->sa_mask) & ~(SIGNALS_BIT(SIGKILL) | SIGNALS_BIT(SIGSTOP)),
        };
        signals_action(sig, &wanted, &before);
    } else {
        signals_action(sig, NULL, &before);
    }
    if (old) {
        *old = (struct sigaction){.sa_flags = before.flags};
        old->sa_sigaction = (void (*)(int, siginfo_t *, void *))before.handler;
        put_word(&old->sa_mask, before.mask);
    }
    return 0;
}

static int change_action(type_sigaction call, int sig, const struct sigaction *act,
                         struct sigaction *old)
{
    if (signals_is_ours(sig))
        return our_action(sig, act, old);
    if (sig < 1 || sig > 64)
        return call(sig, act, old);
    struct sigaction copy;
    bool differs = false;
    if (act) {
        copy = *act;
        differs = signals_differ(word(&act->sa_mask));
        put_word(&copy.sa_mask, signals_to_kernel(word(&act->sa_mask)));
    }
    int ret = call(sig, act ? &copy : NULL, old);
    if (ret != 0)
        return ret;
    k_sigset before = __atomic_load_n(&masks_that_differ, __ATOMIC_RELAXED);
    if (act && differs)
        before = __atomic_fetch_or(&masks_that_differ, only(sig), __ATOMIC_RELAXED);
    else if (act && (before & only(sig)))
        before = __atomic_fetch_and(&masks_that_differ, ~only(sig), __ATOMIC_RELAXED);
    if (old)
        put_word(&old->sa_mask, signals_to_program(word(&old->sa_mask), (before & only(sig)) != 0));
    return ret;
}

EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
    PASS_ON(sigaction, sig, act, old);
    return change_action(NEXT(sigaction), sig, act, old);
}

int __sigaction(int sig, const struct sigaction *act, struct sigaction *old);
EXPORT int __sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
    PASS_ON(__sigaction, sig, act, old);
    return change_action(NEXT(__sigaction), sig, act, old);
}

/* signal() for one of the two signals. */
static handler set_handler(int sig, handler function, int flags, k_sigset mask)
{
    if (function == SIG_ERR) {
        errno = EINVAL;
        return SIG_ERR;
    }
    struct signals_action wanted = {(uintptr_t)function, flags, mask};
    struct signals_action before;
    signals_action(sig, &wanted, &before);
    return (handler)before.handler;
}

static bool interrupts[2]; /* siginterrupt() of the two */

static handler bsd(int sig, handler function)
{
    return set_handler(sig, function, interrupts[sig == SIGSYS] ? 0 : SA_RESTART, only(sig));
}

static handler system_v(int sig, handler function)
{
    return set_handler(sig, function, (int)(SA_RESETHAND | SA_NODEFER), 0);
}

EXPORT handler signal(int sig, handler function)
{
    PASS_HANDLER_ON(signal, sig, function);
    return bsd(sig, function);
}

handler bsd_signal(int sig, handler function);
EXPORT handler bsd_signal(int sig, handler function)
{
    PASS_HANDLER_ON(bsd_signal, sig, function);
    return bsd(sig, function);
}

EXPORT handler ssignal(int sig, handler function)
{
    PASS_HANDLER_ON(ssignal, sig, function);
    return bsd(sig, function);
}

EXPORT handler sysv_signal(int sig, handler function)
{
    PASS_HANDLER_ON(sysv_signal, sig, function);
    return system_v(sig, function);
}

EXPORT handler __sysv_signal(int sig, handler function)
{
    PASS_HANDLER_ON(__sysv_signal, sig, function);
    return system_v(sig, function);
}

EXPORT int siginterrupt(int sig, int interrupt)
{
    if (!signals_is_ours(sig))
        return NEXT(siginterrupt)(sig, interrupt);
    PASS_ON(siginterrupt, sig, interrupt);
    struct signals_action action;
    signals_action(sig, NULL, &action);
    interrupts[sig == SIGSYS] = interrupt != 0;
    action.flags = interrupt ? action.flags & ~SA_RESTART : action.flags | SA_RESTART;
    signals_action(sig, &action, NULL);
    return 0;
}

/* ---- the mask ---- */

/* sigprocmask() and pthread_sigmask(): 0, or what they answer. */
static int change_mask(type_sigprocmask call, int how, const sigset_t *set, sigset_t *old)
{
    sigset_t copy;
    sigset_t unwanted;
    k_sigset wanted = set ? word(set) : 0;
    const sigset_t *wanted_by_kernel = translated(set, &copy);
    if (!old)
        old = &unwanted;
    int ret = call(how, wanted_by_kernel, old);
    if (ret != 0)
        return ret;
    k_sigset before = signals_to_program(word(old), signals_mask_differs);
    put_word(old, before);
    if (set)
        signals_mask_differs = signals_differ(how == SIG_BLOCK     ? before | wanted
                                              : how == SIG_UNBLOCK ? before & ~wanted
                                                                   : wanted);
    return 0;
}

EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    PASS_ON(sigprocmask, how, set, old);
    return change_mask(NEXT(sigprocmask), how, set, old);
}

EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    PASS_ON(pthread_sigmask, how, set, old);
    return change_mask(NEXT(pthread_sigmask), how, set, old);
}

/* The same with a word; returns the mask before. */
static k_sigset change_word(int how, k_sigset value)
{
    sigset_t set;
    sigset_t old;
    sigemptyset(&set);
    sigemptyset(&old);
    put_word(&set, value);
    change_mask(NEXT(sigprocmask), how, &set, &old);
    return word(&old);
}

EXPORT int sighold(int sig)
{
    if (!signals_is_ours(sig))
        return NEXT(sighold)(sig);
    PASS_ON(sighold, sig);
    change_word(SIG_BLOCK, only(sig));
    return 0;
}

EXPORT int sigrelse(int sig)
{
    if (!signals_is_ours(sig))
        return NEXT(sigrelse)(sig);
    PASS_ON(sigrelse, sig);
    change_word(SIG_UNBLOCK, only(sig));
    return 0;
}

EXPORT int sigignore(int sig)
{
    if (!signals_is_ours(sig))
        return NEXT(sigignore)(sig);
    PASS_ON(sigignore, sig);
    set_handler(sig, SIG_IGN, 0, 0);
    return 0;
}

EXPORT handler sigset(int sig, handler function)
{
    PASS_HANDLER_ON(sigset, sig, function);
    if (function == SIG_HOLD) {
        bool held = (change_word(SIG_BLOCK, only(sig)) & only(sig)) != 0;
        struct signals_action action;
        signals_action(sig, NULL, &action);
        return held ? SIG_HOLD : (handler)action.handler;
    }
    handler before = set_handler(sig, function, 0, 0);
    if (before == SIG_ERR)
        return before;
    return change_word(SIG_UNBLOCK, only(sig)) & only(sig) ? SIG_HOLD : before;
}

/* BSD: signals 1 to 32 in an int. */
EXPORT int sigblock(int mask)
{
    PASS_ON(sigblock, mask);
    return (int)change_word(SIG_BLOCK, (unsigned)mask);
}

EXPORT int sigsetmask(int mask)
{
    PASS_ON(sigsetmask, mask);
    return (int)change_word(SIG_SETMASK, (unsigned)mask);
}

EXPORT int siggetmask(void)
{
    if (!signals_taken())
        return NEXT(siggetmask)();
    return (int)change_word(SIG_BLOCK, 0);
}

/* ---- waiting ---- */

static int suspend(k_sigset mask)
{
    sigset_t set;
    sigemptyset(&set);
    put_word(&set, signals_to_kernel(mask));
    return NEXT(sigsuspend)(&set);
}

/* The header makes `sigpause` another name of __xpg_sigpause. */
int bsd_sigpause(int mask) __asm__("sigpause");
EXPORT int bsd_sigpause(int mask)
{
    PASS_ON(sigpause, mask);
    return suspend((unsigned)mask);
}

int __xpg_sigpause(int sig);
EXPORT int __xpg_sigpause(int sig)
{
    if (!signals_is_ours(sig))
        return NEXT(__xpg_sigpause)(sig);
    PASS_ON(__xpg_sigpause, sig);
    return suspend(change_word(SIG_BLOCK, 0) & ~only(sig));
}

EXPORT int sigsuspend(const sigset_t *set)
{
    PASS_ON(sigsuspend, set);
    return suspend(word(set));
}

int __sigsuspend(const sigset_t *set);
EXPORT int __sigsuspend(const sigset_t *set)
{
    PASS_ON(__sigsuspend, set);
    return suspend(word(set));
}

EXPORT int pselect(int count, fd_set *readable, fd_set *writable, fd_set *special,
                   const struct timespec *timeout, const sigset_t *mask)
{
    PASS_ON(pselect, count, readable, writable, special, timeout, mask);
    sigset_t copy;
    return NEXT(pselect)(count, readable, writable, special, timeout, translated(mask, &copy));
}

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                 const sigset_t *mask)
{
    PASS_ON(ppoll, fds, count, timeout, mask);
    sigset_t copy;
    return NEXT(ppoll)(fds, count, timeout, translated(mask, &copy));
}

int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                const sigset_t *mask, size_t size);
EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                       const sigset_t *mask, size_t size)
{
    PASS_ON(__ppoll_chk, fds, count, timeout, mask, size);
    sigset_t copy;
    return NEXT(__ppoll_chk)(fds, count, timeout, translated(mask, &copy), size);
}

EXPORT int epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout,
                       const sigset_t *mask)
{
    PASS_ON(epoll_pwait, epoll, events, most, timeout, mask);
    sigset_t copy;
    return NEXT(epoll_pwait)(epoll, events, most, timeout, translated(mask, &copy));
}

int epoll_pwait2(int epoll, struct epoll_event *events, int most, const struct timespec *timeout,
                 const sigset_t *mask);
EXPORT int epoll_pwait2(int epoll, struct epoll_event *events, int most,
                        const struct timespec *timeout, const sigset_t *mask)
{
    PASS_ON(epoll_pwait2, epoll, events, most, timeout, mask);
    type_epoll_pwait2 call = NEXT(epoll_pwait2);
    sigset_t copy;
    if (call)
        return call(epoll, events, most, timeout, translated(mask, &copy));
    errno = ENOSYS;
    return -1;
}

/* ---- taking pending signals ---- */

EXPORT int sigpending(sigset_t *set)
{
    PASS_ON(sigpending, set);
    int ret = NEXT(sigpending)(set);
    if (ret == 0)
        put_word(set, signals_to_program(word(set), (word(set) & only(SIGNALS_STAND_IN)) != 0));
    return ret;
}

/* A set to wait for: SIGSYS may come under either number. */
static const sigset_t *both(const sigset_t *set, sigset_t *copy)
{
    if (!(word(set) & only(SIGSYS)))
        return set;
    *copy = *set;
    put_word(copy, word(set) | only(SIGNALS_STAND_IN));
    return copy;
}

/* What has come, as the program knows it. */
static int as_sent(const sigset_t *set, siginfo_t *info, int sig)
{
    if (sig != SIGNALS_STAND_IN || !(word(set) & only(SIGSYS)) || !signals_has_waited(info))
        return sig;
    return SIGSYS;
}

static int wait_for(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
    sigset_t copy;
    siginfo_t unwanted;
    if (!info)
        info = &unwanted;
    int sig = NEXT(sigtimedwait)(both(set, &copy), info, timeout);
    return sig > 0 ? as_sent(set, info, sig) : sig;
}

EXPORT int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
    PASS_ON(sigtimedwait, set, info, timeout);
    return wait_for(set, info, timeout);
}

EXPORT int sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
    PASS_ON(sigwaitinfo, set, info);
    return wait_for(set, info, NULL);
}

EXPORT int sigwait(const sigset_t *set, int *sig)
{
    PASS_ON(sigwait, set, sig);
    int saved = errno;
    int got;
    do
        got = wait_for(set, NULL, NULL);
    while (got < 0 && errno == EINTR);
    int error = errno;
    errno = saved; /* the result says it */
    if (got < 0)
        return error;
    *sig = got;
    return 0;
}

/* ---- threads to come ---- */

EXPORT int pthread_attr_setsigmask_np(pthread_attr_t *attr, const sigset_t *mask)
{
    PASS_ON(pthread_attr_setsigmask_np, attr, mask);
    sigset_t copy;
    return NEXT(pthread_attr_setsigmask_np)(attr, translated(mask, &copy));
}

EXPORT int pthread_attr_getsigmask_np(const pthread_attr_t *attr, sigset_t *mask)
{
    PASS_ON(pthread_attr_getsigmask_np, attr, mask);
    int ret = NEXT(pthread_attr_getsigmask_np)(attr, mask);
    if (ret == 0)
        put_word(mask, signals_to_program(word(mask), false));
    return ret;
}
