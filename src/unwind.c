/* SPDX-License-Identifier: MIT */
#include "unwind.h"

#include <signal.h>
#include <stdatomic.h>
#include <ucontext.h>

#include "kernel.h"
#include "zone.h"

#define WINDOWS 16u

/* A window on the stack: what one system call reads serves many frames. */
struct unwind_window {
    _Atomic uint32_t taken;
    uint64_t words[511];
};
_Static_assert(sizeof(struct unwind_window) == 4096, "a page each");
static struct unwind_window *windows;

/* A word of the stack, through the window. */
static bool read_word(struct unwind *u, uintptr_t at, uintptr_t *value)
{
    uintptr_t from = at - u->start;
    if ((at & 7) != 0)
        return false;
    if (at < u->start || u->size < sizeof(*value) || from > u->size - sizeof(*value)) {
        u->start = at;
        u->size = rules_read(u->pid, at, u->words, u->room);
        if (u->size < sizeof(*value))
            return false;
        from = 0;
    }
    *value = u->words[from / 8];
    return true;
}

/* So far up the stack a chain of frame pointers may lead at once. */
#define CHAIN_REACH (64ul << 10)

static uintptr_t strip(uintptr_t address)
{
#if defined(__aarch64__) /* the signature of pointer authentication: xpaclri */
    register uintptr_t x30 __asm__("x30") = address;
    __asm__("hint #7" : "+r"(x30));
    return x30;
#else
    return address;
#endif
}

static bool follow_table(struct unwind *u, const struct rule *r)
{
    uintptr_t cfa = (r->kind == RULE_SP ? u->sp : u->fp) + (uintptr_t)r->cfa;
    uintptr_t fp = u->fp;
    uintptr_t ip = u->lr;
    if (cfa < u->sp || (cfa == u->sp && r->ra != 0))
        return false;
    /* The lower first: what is above it is then read with it. */
    bool fp_first = r->fp < r->ra;
    if ((fp_first && r->fp != 0 && !read_word(u, cfa + (uintptr_t)r->fp, &fp)) ||
        (r->ra != 0 && !read_word(u, cfa + (uintptr_t)r->ra, &ip)) ||
        (!fp_first && r->fp != 0 && !read_word(u, cfa + (uintptr_t)r->fp, &fp)))
        return false;
    u->ip = strip(ip);
    u->sp = cfa;
    u->fp = fp;
    u->lr = 0; /* it is the caller's no longer */
    u->sp_lost = false;
    u->exact = false;
    return true;
}

static bool follow_chain(struct unwind *u)
{
    uintptr_t fp, ip;
    if (u->fp < u->sp || u->fp - u->sp > CHAIN_REACH || !read_word(u, u->fp, &fp) ||
        !read_word(u, u->fp + sizeof(fp), &ip))
        return false;
    u->sp = u->fp + 2 * sizeof(fp);
#if defined(__aarch64__)
    u->sp_lost = true; /* a frame's record may be anywhere in it */
#endif
    u->ip = strip(ip);
    u->fp = fp;
    u->lr = 0;
    u->exact = false;
    return true;
}

/*
 * The rule cannot be followed, but the chain of frames can. On aarch64, where the procedure call
 * standard asks for one: libunwind 1.6 cannot read the tables of code that signs its return
 * addresses, and takes them to be in lr, where nobody has them who has made a call; and after a
 * step along the chain it is not known where the stack is.
 */
static bool has_chain_only(const struct unwind *u, const struct rule *r)
{
    if (r->kind == RULE_SP)
        return u->sp_lost || (r->ra == 0 && u->lr == 0);
    return r->kind == RULE_CHAIN || (r->kind == RULE_SIGNAL && u->sp_lost);
}

static bool follow_signal(struct unwind *u)
{
#if defined(__x86_64__)
    enum {
        IP = offsetof(ucontext_t, uc_mcontext.gregs[REG_RIP]),
        SP = offsetof(ucontext_t, uc_mcontext.gregs[REG_RSP]),
        FP = offsetof(ucontext_t, uc_mcontext.gregs[REG_RBP]),
        LR = IP
    };
#elif defined(__aarch64__)
    enum {
        CONTEXT = sizeof(siginfo_t),
        IP = CONTEXT + offsetof(ucontext_t, uc_mcontext.pc),
        SP = CONTEXT + offsetof(ucontext_t, uc_mcontext.sp),
        FP = CONTEXT + offsetof(ucontext_t, uc_mcontext.regs[29]),
        LR = CONTEXT + offsetof(ucontext_t, uc_mcontext.regs[30])
    };
#endif
    uintptr_t ip, sp, fp, lr;
    if (!read_word(u, u->sp + FP, &fp) || !read_word(u, u->sp + LR, &lr) ||
        !read_word(u, u->sp + IP, &ip) || !read_word(u, u->sp + SP, &sp))
        return false;
    u->ip = ip;
    u->sp = sp;
    u->fp = fp;
    u->lr = lr;
    u->sp_lost = false;
    u->exact = true;
    return true;
}

/* The address is looked up whose table row holds: in the call, or where a signal struck. */
static void find_rule(struct unwind *u)
{
    u->rule = rules_find(u->pid, u->exact ? u->ip : u->ip - 1, u->exact, u->is_code, u->owner);
}

bool unwind_load(void)
{
    long ret = zone_map(WINDOWS * sizeof(*windows), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (k_failed(ret))
        return false;
    windows = (struct unwind_window *)(uintptr_t)ret;
    return true;
}

void unwind_begin(struct unwind *u)
{
    u->window = NULL;
    for (unsigned i = 0; i < WINDOWS && !u->window; i++) {
        /* Threads begin at different ones. */
        struct unwind_window *w = &windows[((u->sp >> 16) + i) % WINDOWS];
        if (atomic_load_explicit(&w->taken, memory_order_relaxed) == 0 &&
            atomic_exchange_explicit(&w->taken, 1, memory_order_acquire) == 0)
            u->window = w;
    }
    u->words = u->window ? u->window->words : u->spare;
    u->room = u->window ? sizeof(u->window->words) : sizeof(u->spare);
    u->size = 0;
    u->start = 0;
    u->sp_lost = false;
    find_rule(u);
}

enum unwind_result unwind_step(struct unwind *u)
{
    enum rule_kind kind = u->rule.kind;
    bool went = false;
    if (has_chain_only(u, &u->rule))
        went = follow_chain(u);
    else if (kind == RULE_SP || kind == RULE_FP)
        went = follow_table(u, &u->rule);
    else if (kind == RULE_SIGNAL)
        went = follow_signal(u);
    if (went)
        find_rule(u);
    if (u->rule.kind == RULE_LATER)
        return UNWIND_UNKNOWN;
    if (!went || u->rule.kind == RULE_NONE)
        return UNWIND_END;
    return kind == RULE_SIGNAL ? UNWIND_SIGNAL : UNWIND_CALLER;
}

void unwind_end(struct unwind *u)
{
    if (u->window)
        atomic_store_explicit(&u->window->taken, 0, memory_order_release);
}

void unwind_reset_in_child(void)
{
    if (!windows)
        return;
    for (unsigned i = 0; i < WINDOWS; i++)
        atomic_store_explicit(&windows[i].taken, 0, memory_order_relaxed);
    rules_reset_in_child();
}
