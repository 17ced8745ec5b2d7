/* SPDX-License-Identifier: MIT */
/*
 * SIGSYS, shared between the trap and the program.
 *
 * While a seccomp filter traps calls, SIGSYS has our handler, and no thread may have it blocked:
 * the kernel kills a process that it cannot deliver a trap to. The program goes on to see the
 * SIGSYS that it set: its handler, its flags, its mask (sigcalls.c has the functions by which it
 * says so).
 *
 * Whether it has SIGSYS blocked is kept in the kernel's own mask, under the number of a signal that
 * Linux never sends: SIGSTKFLT, the stand-in. Wherever the program's sets hold SIGSYS the kernel's
 * hold the stand-in. So everything that saves and restores masks carries it without our help:
 * siglongjmp(), setcontext(), the entry and return of handlers, pthread_create(), exec. A SIGSYS
 * that arrives while the program blocks it is queued again as the stand-in; the kernel keeps that
 * pending and delivers it when, and to whom, it would have delivered SIGSYS.
 *
 * What this takes away is SIGSTKFLT: it is blocked when SIGSYS is. Actions of the program for it
 * are kept, and its own bit of a mask is read back as it was set.
 *
 * Everything but signals_take() and signals_give_back() may be called at any time and from any
 * thread; all of it from signal handlers. Nothing here waits.
 */
#ifndef REMAP_SIGNALS_H
#define REMAP_SIGNALS_H

#include <stdbool.h>

#include "kernel.h"

#define SIGNALS_STAND_IN SIGSTKFLT
#define SIGNALS_BIT(sig) ((k_sigset)1 << ((sig)-1))

/* An action as the program set it. */
struct signals_action {
    uintptr_t handler; /* SIG_DFL, SIG_IGN or a function */
    int flags;
    k_sigset mask;
};

/* Sees every SIGSYS first. True: it was not the program's, and is done with. */
typedef bool (*signals_first)(siginfo_t *info, void *context);

/*
 * Takes SIGSYS over: 0 or a negative errno. `masks_are_ours`: this process was executed by one
 * whose SIGSYS was taken over, a mask that it inherited has the stand-in. To be called while no
 * other thread can have SIGSYS blocked; uses no libc.
 */
long signals_take(signals_first first, bool masks_are_ours);
/* As it was before; nobody else may have changed anything meanwhile. */
void signals_give_back(void);
/* pthread_atfork child handler. */
void signals_in_child(void);

/* False: the functions of sigcalls.c pass everything on. */
extern bool signals_taken_;
static inline bool signals_taken(void)
{
    return __atomic_load_n(&signals_taken_, __ATOMIC_RELAXED);
}
/* SIGSYS or the stand-in: calls about it are ours to answer while it is taken. */
static inline bool signals_is_ours(int sig)
{
    return sig == SIGSYS || sig == SIGNALS_STAND_IN;
}

/* The action of one of these two; `act` and `old` may be NULL. */
void signals_action(int sig, const struct signals_action *act, struct signals_action *old);

/* True if the stand-in that came with this is a SIGSYS that had to wait; *info is that of SIGSYS
 * then.
 */
bool signals_has_waited(siginfo_t *info);

/* A set of the program's for the kernel, and back. `differs`: the program has (not) the stand-in in
 * a set that has not (has) SIGSYS: see signals_differ(). */
k_sigset signals_to_kernel(k_sigset set);
k_sigset signals_to_program(k_sigset set, bool differs);
bool signals_differ(k_sigset program_set);
/* The calling thread's, for its mask. A hint: a siglongjmp() does not restore it. */
extern __thread bool signals_mask_differs;

#endif
