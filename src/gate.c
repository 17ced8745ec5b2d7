/* SPDX-License-Identifier: MIT */
#include "gate.h"

#include <linux/futex.h>
#include <stdatomic.h>

/* Low half: movers inside. High half: forks that are waiting or under way. */
#define MOVER  1u
#define FORKER (1u << 16)
#define MOVERS (FORKER - 1u)

static _Atomic uint32_t gate;

bool gate_enter(k_sigset *saved)
{
    k_sigset all = ~(k_sigset)0;
    if (k_failed(k_sigprocmask(SIG_SETMASK, &all, saved)))
        return false;
    uint32_t now = atomic_load_explicit(&gate, memory_order_relaxed);
    while (now < FORKER && (now & MOVERS) < MOVERS) {
        if (atomic_compare_exchange_weak_explicit(&gate, &now, now + MOVER, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    }
    k_sigprocmask(SIG_SETMASK, saved, NULL);
    return false;
}

void gate_leave(const k_sigset *saved)
{
    uint32_t before = atomic_fetch_sub_explicit(&gate, MOVER, memory_order_release);
    if (before >= FORKER && (before & MOVERS) == MOVER)
        k_futex(&gate, FUTEX_WAKE_PRIVATE, INT32_MAX);
    k_sigprocmask(SIG_SETMASK, saved, NULL);
}

void gate_close(void)
{
    uint32_t now = atomic_fetch_add_explicit(&gate, FORKER, memory_order_acquire) + FORKER;
    while ((now & MOVERS) != 0) {
        k_futex(&gate, FUTEX_WAIT_PRIVATE, now);
        now = atomic_load_explicit(&gate, memory_order_acquire);
    }
}

void gate_open(void)
{
    /* Not below zero: a signal handler may have forked between our two handlers, and this be its
     * child, where the gate was reset. */
    uint32_t now = atomic_load_explicit(&gate, memory_order_relaxed);
    while (now >= FORKER &&
           !atomic_compare_exchange_weak_explicit(&gate, &now, now - FORKER, memory_order_release,
                                                  memory_order_relaxed))
        continue;
}

void gate_reset_in_child(void)
{
    atomic_store_explicit(&gate, 0, memory_order_relaxed);
}
