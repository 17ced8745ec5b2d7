/* SPDX-License-Identifier: MIT */
/*
 * Walking up our own stack inside another program, by the rules of rules.h.
 *
 * The stack is read by process_vm_readv(2) of ourselves, a page at a time: a damaged stack or a
 * register that holds something else ends the walk, and never the program. (libunwind's own
 * unw_backtrace() follows the frame pointer unread: an assembly function that uses it as a plain
 * register kills the program there.)
 *
 * Code without tables (a JIT's) is taken to keep a chain of frame pointers, as far as each link
 * leads a little up the stack and to executable memory.
 *
 * Async-signal-safe, thread-safe, errno is preserved. struct unwind is large because who finds no
 * window free (17 threads at once, or handlers that left by siglongjmp() in the middle) reads
 * through a small one of its own.
 */
#ifndef REMAP_UNWIND_H
#define REMAP_UNWIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rules.h"

enum unwind_result {
    UNWIND_CALLER, /* the registers are those of the caller */
    UNWIND_SIGNAL, /* ... of what a signal interrupted */
    UNWIND_END,    /* there is no caller, or none that can be found */
    UNWIND_UNKNOWN /* cannot be told just now (too little stack left): ask another time */
};

struct unwind_window;
struct unwind {
    long pid;           /* our own */
    rules_code is_code; /* see rules_find() */
    void *owner;
    uintptr_t ip;
    uintptr_t sp;
    uintptr_t fp;
    uintptr_t lr; /* aarch64, of what was interrupted */
    bool exact;   /* ip is where it is, not where a call returns to */
    /* private */
    struct rule rule;
    bool sp_lost;                 /* sp is not where the stack ends, but below that */
    struct unwind_window *window; /* NULL: spare */
    uint64_t *words;
    size_t room;     /* bytes there */
    size_t size;     /* bytes that were read */
    uintptr_t start; /* from here on */
    uint64_t spare[64];
};

/* The registers at the place of the call; pid, is_code and owner stay to be set. */
static inline __attribute__((always_inline)) void unwind_here(struct unwind *u)
{
#if defined(__x86_64__)
    __asm__ volatile("leaq 0(%%rip), %0\n\tmovq %%rsp, %1\n\tmovq %%rbp, %2"
                     : "=&r"(u->ip), "=&r"(u->sp), "=&r"(u->fp));
#elif defined(__aarch64__)
    __asm__ volatile("adr %0, .\n\tmov %1, sp\n\tmov %2, x29"
                     : "=&r"(u->ip), "=&r"(u->sp), "=&r"(u->fp));
#endif
    u->lr = 0;
    u->exact = true;
}

/* From the constructor, after rules_load(). False: no memory. */
bool unwind_load(void);

/* Goes from *u to the caller, again and again; what begins must be ended. */
void unwind_begin(struct unwind *u);
enum unwind_result unwind_step(struct unwind *u);
void unwind_end(struct unwind *u);

/* In a forked child, however it was forked. */
void unwind_reset_in_child(void);

#endif
