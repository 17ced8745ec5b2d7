/* SPDX-License-Identifier: MIT */
/* What the tests of REMAP_CATCH=trap share. */
#ifndef TESTS_TRAPPING_H
#define TESTS_TRAPPING_H

#include <seccomp.h>
#include <signal.h>

#include "lib.h"

/* For the environment of a case: without, since these programs can start others, no trap is set. */
#define TRAP "REMAP_CATCH=symbol,syscall,trap REMAP_TRAP=always"

/* Skips where no filter may be set; fails where the trap is not there all the same. */
void need_trap(void);
uint64_t trapped_now(void); /* calls that were counted as trapped */

/* Moves a piece beside a neighbour by a system call instruction: whole, trapped once, and merged
 * where a tier is. */
void move_trapped(void);
/* Only that it does not kill, from wherever it is called: an error of the arguments alone. */
#define CHECK_TRAPPED() CHECK_EQ(raw_mremap((void *)1, PAGE, PAGE, 0, NULL), -EINVAL)

/* Both sets have the same signals from 1 to 64. */
bool same_set(const sigset_t *a, const sigset_t *b);

/* Set by count_signal(): how often it ran, and what with. */
extern volatile sig_atomic_t signals_seen;
extern siginfo_t signal_info;
void count_signal(int sig, siginfo_t *info, void *context);
void handle(int sig, void (*handler)(int, siginfo_t *, void *), int flags);

/* The child's wait status is that of a death by SIGSYS. */
void dies_of_sigsys(void (*body)(void *));

/* Loads and releases it; skips where that may not be. */
void load_filter(scmp_filter_ctx filter);
/* A filter of the program's own that traps getppid(). */
void trap_getppid(void);

#endif
