/* SPDX-License-Identifier: MIT */
/*
 * The fork gate: no fork() of this process may copy a half-moved state into a child.
 *
 * Movers enter and leave; they never wait. A fork() (its pthread_atfork prepare handler) closes the
 * gate, waits until the movers inside have left, and opens it again afterwards; a mover that finds
 * it closed moves plainly. So neither a signal handler nor a fork can find a lock held: movers
 * block all signals while inside. Not covered: raw clone()/_Fork() in another thread during a move.
 */
#ifndef REMAP_GATE_H
#define REMAP_GATE_H

#include <stdbool.h>

#include "kernel.h"

/* Blocks all signals, then enters. False: a fork is under way; signals are as they were. */
bool gate_enter(k_sigset *saved);
/* Leaves, then restores the signals. */
void gate_leave(const k_sigset *saved);

/* For the pthread_atfork handlers. */
void gate_close(void);
void gate_open(void);
void gate_reset_in_child(void);

#endif
