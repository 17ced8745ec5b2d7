/* SPDX-License-Identifier: MIT */
/*
 * The environment before libc knows it: in .preinit_array and in resolvers of indirect functions
 * `environ` is still NULL. It lies where the kernel put it, behind argc and argv, and the loader
 * (glibc's) keeps a pointer to that.
 */
#ifndef REMAP_EARLY_ENV_H
#define REMAP_EARLY_ENV_H

#include <stddef.h>

/* Weak: libc is all that we link. */
extern void *__libc_stack_end __attribute__((weak));

/* NULL if it cannot be told. Valid until main() begins; uses nothing but that pointer. */
static inline char *const *early_environment(void)
{
    if (&__libc_stack_end == NULL || __libc_stack_end == NULL)
        return NULL;
    char *const *stack = __libc_stack_end;
    return stack + 1 + (long)*stack + 1;
}

#endif
