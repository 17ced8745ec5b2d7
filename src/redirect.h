/* SPDX-License-Identifier: MIT */
/*
 * Calls of mremap() inside libc. glibc's realloc() calls the entry of its own mremap() directly, so
 * no symbol lookup is involved and none can be interposed; whatever stands at that entry sees it.
 *
 * redirect_install() writes a jump there. The old body is never needed again: this library makes
 * raw system calls. The bytes go through /proc/self/mem (proc_pid_mem(5)): the kernel copies the
 * page and leaves the mapping as it is, readable and executable and never writable. mprotect()
 * would split the VMA, for good: what was once writable keeps VM_ACCOUNT and cannot merge with the
 * rest.
 * Where the kernel is set up to refuse such writes, a changed copy of the whole mapping takes its
 * place, in one step.
 *
 * To be called from the constructor, before other threads exist; not async-signal-safe (dlsym).
 */
#ifndef REMAP_REDIRECT_H
#define REMAP_REDIRECT_H

#include "remap_stats.h"

/* REMAP_WHY_NONE: every later call of libc's mremap() goes to `target`, which has its signature.
 * Anything else: nothing was changed; *error is a negative errno, or 0. */
enum remap_why redirect_install(void *(*target)(void *, unsigned long, unsigned long, int, ...),
                                long *error);

#endif
