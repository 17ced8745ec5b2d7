/* SPDX-License-Identifier: MIT */
/*
 * Rules: how a caller's registers follow from those at an address, as the unwind tables say.
 *
 * libunwind reads the tables, and nothing else: for each address that was not seen before it is
 * asked once, with made-up registers and a made-up stack, what it would do. The answers are kept by
 * address. So:
 *
 *   - Its reads, of the tables and of code, are process_vm_readv(2) of ourselves: an object that is
 *     just being unloaded gives no answer, and never kills the program. The real stack is not its
 *     business (unwind.h).
 *   - No lock of the loader is taken: objects are found by _dl_find_object() (glibc 2.35), which is
 *     async-signal-safe. libunwind itself allocates from pools of its own (mmap), under a mutex
 *     that it holds with signals blocked. A child forked while a thread was in there learns nothing
 *     new; what its parent knew it knows.
 *   - Its own check of addresses, a write to a pipe whose numbers the program may have reused by
 *     then, is never used; the pipe is moved out of the way of the low descriptor numbers.
 *   - It is the library for other processes (libunwind-<arch>.so.8) with an address space of our
 *     own: no state is shared with a program that uses libunwind.so.8 itself.
 *
 * An answer is kept for as long as the process lives: where an object was unloaded and another one
 * is in its place by now, it may be wrong. Who follows it must expect that.
 *
 * Async-signal-safe, thread-safe, errno is preserved; except for rules_load().
 */
#ifndef REMAP_RULES_H
#define REMAP_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How a caller's registers follow from those here. The canonical frame address (CFA) is the stack
 * pointer that the caller will have.
 */
enum rule_kind {
    RULE_NONE,   /* no code there */
    RULE_SP,     /* CFA = sp + cfa */
    RULE_FP,     /* CFA = fp + cfa */
    RULE_CHAIN,  /* no table: fp points to the caller's fp, with the return address behind it */
    RULE_SIGNAL, /* sp points to what the kernel saved for a signal handler */
    RULE_LAST,   /* there is no caller, or it is found by other means than these */
    RULE_LATER   /* cannot be told now; never kept */
};

/* All in bytes, multiples of 8, relative to the CFA. */
struct rule {
    enum rule_kind kind;
    int64_t cfa;
    int64_t fp; /* where the caller's fp is; 0: in fp still */
    int64_t ra; /* where the return address is; 0: in lr */
};

/* Nothing new is learned with less stack left than this. */
#define RULES_ROOM (6ul << 10)

/* From the constructor: loads libunwind. Returns NULL, or what is missing and what to do. */
const char *rules_load(void);

/* Whether there is code at an address that lies in no object: a JIT compiler's. */
typedef bool (*rules_code)(void *owner, uintptr_t address);

/*
 * The rule at an address. `exact`: it is where a signal struck; else it is the last byte of a call.
 * pid: our own. is_code: NULL: nothing is.
 */
struct rule rules_find(long pid, uintptr_t address, bool exact, rules_code is_code, void *owner);

/* The loaded object in which an address lies, [*start, *end). After rules_load(). */
bool rules_object(uintptr_t address, uintptr_t *start, uintptr_t *end);

/* Reads our own memory from `at` on, up to the first byte that cannot be read: how many bytes. */
size_t rules_read(long pid, uintptr_t at, void *to, size_t size);

/* In a forked child: what other threads of the parent were in the middle of never ends here. */
void rules_reset_in_child(void);

#endif
