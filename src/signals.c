/* SPDX-License-Identifier: MIT */
#include "signals.h"

#include <stdatomic.h>
#include <ucontext.h>

bool signals_taken_;
__thread bool signals_mask_differs;

enum which { OF_SIGSYS, OF_STAND_IN, SIGNALS };

/*
 * The program's actions. A new one is written to a free slot and published by its number, so that a
 * handler never finds half of one and nobody waits for anybody, not even in a child that was forked
 * in the middle. A slot is used again after so many calls: they would all have to be under way at
 * once to overwrite what is being read.
 */
#define SLOTS 32u
static struct signals_action slots[SIGNALS][SLOTS];
static _Atomic uint32_t next_slot[SIGNALS];
static _Atomic uint32_t current[SIGNALS];

static struct k_sigaction found[SIGNALS]; /* before us, for signals_give_back() */
static k_sigset found_mask;
static signals_first sees_first;
static long owner; /* process id */

/* How a SIGSYS is marked that waits as the stand-in. An si_code that only the kernel may queue to
 * another thread's process id is kept in the mark. */
#define MARK      0x53595300
#define MARK_CODE 1

bool signals_differ(k_sigset set)
{
    return ((set & SIGNALS_BIT(SIGSYS)) != 0) != ((set & SIGNALS_BIT(SIGNALS_STAND_IN)) != 0);
}

k_sigset signals_to_kernel(k_sigset set)
{
    bool blocked = (set & SIGNALS_BIT(SIGSYS)) != 0;
    set &= ~(SIGNALS_BIT(SIGSYS) | SIGNALS_BIT(SIGNALS_STAND_IN));
    return blocked ? set | SIGNALS_BIT(SIGNALS_STAND_IN) : set;
}

k_sigset signals_to_program(k_sigset set, bool differs)
{
    bool blocked = (set & SIGNALS_BIT(SIGNALS_STAND_IN)) != 0;
    set &= ~(SIGNALS_BIT(SIGSYS) | SIGNALS_BIT(SIGNALS_STAND_IN));
    if (blocked)
        set |= SIGNALS_BIT(SIGSYS);
    return blocked != differs ? set | SIGNALS_BIT(SIGNALS_STAND_IN) : set;
}

static struct signals_action action_of(enum which which)
{
    struct signals_action action;
    uint32_t before;
    do {
        before = atomic_load_explicit(&current[which], memory_order_acquire);
        action = slots[which][before % SLOTS];
        atomic_thread_fence(memory_order_acquire);
    } while (before != atomic_load_explicit(&current[which], memory_order_relaxed));
    return action;
}

/* Returns the number of a slot that holds it and is not published yet. */
static uint32_t write_action(enum which which, const struct signals_action *action)
{
    uint32_t mine = atomic_fetch_add_explicit(&next_slot[which], 1, memory_order_relaxed) + 1;
    slots[which][mine % SLOTS] = *action;
    return mine;
}

static bool is_handled(const struct signals_action *action)
{
    return action->handler != (uintptr_t)SIG_DFL && action->handler != (uintptr_t)SIG_IGN;
}

/*
 * Where handlers return to. The kernel asks for it on x86-64, and unwinders and debuggers know a
 * signal's frame by these very instructions, those of libc.
 */
#if defined(__x86_64__)
void signals_restorer(void);
__asm__(".text\n"
        ".balign 16\n"
        "    nop\n" /* unwinders look up the function at the return address minus one */
        ".type signals_restorer, @function\n"
        ".hidden signals_restorer\n"
        ".globl signals_restorer\n"
        "signals_restorer:\n"
        "    movq $15, %rax\n" /* SYS_rt_sigreturn */
        "    syscall\n"
        ".size signals_restorer, . - signals_restorer\n");
_Static_assert(SYS_rt_sigreturn == 15, "the code has this number");
#define RESTORER       signals_restorer
#define RESTORER_FLAGS K_SA_RESTORER
#else
#define RESTORER       NULL
#define RESTORER_FLAGS 0ul
#endif

static void on_signal(int sig, siginfo_t *info, void *context);

/*
 * Our handler runs where the program's would: on the alternate stack if its own action says so (an
 * alternate stack is as large as the program's handlers need), else where the system call was made.
 * All signals are blocked when it begins, or a flood of SIGSYS would pile up frames; the call, and
 * the program's own handler, are made with the masks that they would have had without us.
 */
static long arm(void)
{
    struct signals_action own = action_of(OF_SIGSYS);
    struct signals_action other = action_of(OF_STAND_IN);
    struct k_sigaction act = {
        .handler = (uintptr_t)&on_signal,
        .flags = (unsigned long)SA_SIGINFO | RESTORER_FLAGS,
        .restorer = RESTORER,
    };
    unsigned flags = is_handled(&own) ? (unsigned)own.flags : SA_RESTART;
    if (is_handled(&other))
        flags |= (unsigned)other.flags & SA_ONSTACK;
    act.flags |= flags & (SA_ONSTACK | SA_RESTART);
    act.mask = ~(k_sigset)0;
    long ret = k_rt_sigaction(SIGSYS, &act, NULL);
    return k_failed(ret) ? ret : k_rt_sigaction(SIGNALS_STAND_IN, &act, NULL);
}

void signals_action(int sig, const struct signals_action *act, struct signals_action *old)
{
    enum which which = sig == SIGSYS ? OF_SIGSYS : OF_STAND_IN;
    if (!act) {
        *old = action_of(which);
        return;
    }
    /* The child of a vfork() shares this memory but not the kernel's actions. What it sets (its
     * defaults, before exec) must not become its parent's. (The child of a raw clone(2), or of
     * _Fork(), is taken for one: what it sets has no effect.) */
    if (k_getpid() != owner) {
        if (old)
            *old = action_of(which);
        return;
    }
    uint32_t mine = write_action(which, act);
    uint32_t before = atomic_exchange_explicit(&current[which], mine, memory_order_acq_rel);
    if (old)
        *old = slots[which][before % SLOTS];
    arm();
}

/* The action that a signal now gets; with SA_RESETHAND it gets it once. */
static struct signals_action take_action(enum which which)
{
    static const struct signals_action by_default = {.handler = (uintptr_t)SIG_DFL};
    for (;;) {
        uint32_t seen = atomic_load_explicit(&current[which], memory_order_acquire);
        struct signals_action action = slots[which][seen % SLOTS];
        if (!is_handled(&action) || !((unsigned)action.flags & SA_RESETHAND))
            return action;
        uint32_t reset = write_action(which, &by_default);
        if (atomic_compare_exchange_strong_explicit(&current[which], &seen, reset,
                                                    memory_order_acq_rel, memory_order_relaxed))
            return action;
    }
}

/* As without us: by default, with the right wait status, and at the instruction that was
 * interrupted: the signal is blocked until our handler has returned. */
static void die(int sig, const siginfo_t *info)
{
    struct k_sigaction by_default = {.handler = (uintptr_t)SIG_DFL};
    k_sigset set = SIGNALS_BIT(sig);
    k_sigprocmask(SIG_BLOCK, &set, NULL);
    k_rt_sigaction(sig, &by_default, NULL);
    k_rt_tgsigqueueinfo(k_getpid(), k_gettid(), sig, info);
}

/* A SIGSYS that has to wait: to this thread if it was, else to any that does not block it. */
static void queue_again(const siginfo_t *info)
{
    siginfo_t waits = *info;
    waits.si_errno = MARK;
    if (info->si_code == SI_TKILL) {
        k_rt_tgsigqueueinfo(k_getpid(), k_gettid(), SIGNALS_STAND_IN, &waits);
        return;
    }
    if (info->si_code >= 0) {
        waits.si_errno |= MARK_CODE;
        waits.si_code = SI_QUEUE;
    }
    k_rt_sigqueueinfo(k_getpid(), SIGNALS_STAND_IN, &waits);
}

bool signals_has_waited(siginfo_t *info)
{
    /* Where RLIMIT_SIGPENDING is used up the kernel keeps the signal and forgets the rest. */
    bool lost = info->si_code == SI_USER && info->si_pid == 0 && info->si_errno == 0;
    if (lost) {
        info->si_signo = SIGSYS;
        return true;
    }
    if ((info->si_errno & ~MARK_CODE) != MARK || info->si_code > 0)
        return false;
    if (info->si_errno & MARK_CODE)
        info->si_code = SI_USER;
    info->si_errno = 0;
    info->si_signo = SIGSYS;
    return true;
}

static k_sigset get_mask(const ucontext_t *context)
{
    k_sigset set;
    __builtin_memcpy(&set, &context->uc_sigmask, sizeof(set));
    return set;
}

static void put_mask(ucontext_t *context, k_sigset set)
{
    __builtin_memcpy(&context->uc_sigmask, &set, sizeof(set));
}

/* `forced`: by the kernel, because of what this thread did: it cannot be ignored. */
static void deliver(int sig, siginfo_t *info, ucontext_t *context, bool forced)
{
    struct signals_action action = take_action(sig == SIGSYS ? OF_SIGSYS : OF_STAND_IN);
    if (action.handler == (uintptr_t)SIG_IGN && !forced)
        return;
    if (!is_handled(&action)) {
        die(sig, info);
        return;
    }
    k_sigset block = action.mask;
    if (!((unsigned)action.flags & SA_NODEFER))
        block |= SIGNALS_BIT(sig);
    k_sigset before = signals_to_program(get_mask(context), signals_mask_differs);
    bool differed = signals_mask_differs;
    put_mask(context, before);
    signals_mask_differs = signals_differ(before | block);
    block = signals_to_kernel(before | block);
    k_sigprocmask(SIG_SETMASK, &block, NULL);
    ((void (*)(int, siginfo_t *, void *))action.handler)(sig, info, context);
    signals_mask_differs = differed;
    /* What it made of the mask takes effect when we return. */
    put_mask(context, signals_to_kernel(get_mask(context)));
}

static void on_signal(int sig, siginfo_t *info, void *argument)
{
    ucontext_t *context = argument;
    if (sig == SIGSYS && sees_first(info, context))
        return;
    if (sig == SIGNALS_STAND_IN) {
        deliver(signals_has_waited(info) ? SIGSYS : sig, info, context, false);
        return;
    }
    bool forced = info->si_code > 0;
    if (!(get_mask(context) & SIGNALS_BIT(SIGNALS_STAND_IN)))
        deliver(sig, info, context, forced);
    else if (forced)
        die(sig, info);
    else
        queue_again(info);
}

static struct signals_action from_kernel(const struct k_sigaction *act)
{
    return (struct signals_action){
        .handler = act->handler,
        .flags = (int)(act->flags & ~K_SA_RESTORER),
        .mask = act->mask,
    };
}

long signals_take(signals_first first, bool masks_are_ours)
{
    const k_sigset ours = SIGNALS_BIT(SIGSYS) | SIGNALS_BIT(SIGNALS_STAND_IN);
    long ret = k_rt_sigaction(SIGSYS, NULL, &found[OF_SIGSYS]);
    if (!k_failed(ret))
        ret = k_rt_sigaction(SIGNALS_STAND_IN, NULL, &found[OF_STAND_IN]);
    if (!k_failed(ret))
        ret = k_sigprocmask(SIG_BLOCK, &ours, &found_mask);
    if (k_failed(ret))
        return ret;
    for (enum which which = 0; which < SIGNALS; which++) {
        struct signals_action action = from_kernel(&found[which]);
        atomic_store_explicit(&current[which], write_action(which, &action), memory_order_release);
    }
    sees_first = first;
    owner = k_getpid();
    ret = arm();
    k_sigset mask = found_mask;
    if (!masks_are_ours || (mask & SIGNALS_BIT(SIGSYS)) != 0) {
        signals_mask_differs = signals_differ(mask);
        mask = signals_to_kernel(mask);
    }
    __atomic_store_n(&signals_taken_, true, __ATOMIC_RELEASE);
    if (!k_failed(ret))
        ret = k_sigprocmask(SIG_SETMASK, &mask, NULL);
    if (k_failed(ret))
        signals_give_back();
    return ret;
}

void signals_give_back(void)
{
    __atomic_store_n(&signals_taken_, false, __ATOMIC_RELEASE);
    k_rt_sigaction(SIGSYS, &found[OF_SIGSYS], NULL);
    k_rt_sigaction(SIGNALS_STAND_IN, &found[OF_STAND_IN], NULL);
    k_sigprocmask(SIG_SETMASK, &found_mask, NULL);
}

void signals_in_child(void)
{
    owner = k_getpid();
}
