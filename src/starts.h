/* SPDX-License-Identifier: MIT */
/*
 * Whether this program could start others.
 *
 * A loaded object that calls a function of the exec family (or posix_spawn(), system(), popen(),
 * wordexp()) names it as an undefined symbol, and needs a relocation for it: those are read. Not
 * seen: objects that are loaded later, functions looked up by dlsym(), execve() by system call.
 *
 * From the constructor; not async-signal-safe (dl_iterate_phdr).
 */
#ifndef REMAP_STARTS_H
#define REMAP_STARTS_H

#include <stdbool.h>

bool starts_others(void);

/* True if LD_PRELOAD in this environment holds this library: a program started from here has it. */
bool starts_others_with_us(char *const *envp);

#endif
