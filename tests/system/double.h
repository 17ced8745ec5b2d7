/* SPDX-License-Identifier: MIT */
/*
 * A test double for a kernel that knows MREMAP_RELOCATE_ANON (8) and MREMAP_MUST_RELOCATE_ANON
 * (16): it stands at the system-call boundary of a test, sees each mremap(), and answers those with
 * a flag as such a kernel would, or as the test tells it to.
 *
 * What it does not know, and so can prove nothing about, is at the top of double.c.
 */
#ifndef TESTS_DOUBLE_H
#define TESTS_DOUBLE_H

#include <stddef.h>
#include <sys/types.h>

/* What the double makes of a call. Or a negative errno: then nothing happens. (But: 16, FIXED and
 * -EFAULT unmap the destination first, as that kernel does.) */
enum double_answer {
    DOUBLE_KERNEL,    /* the call goes to the real kernel as it is */
    DOUBLE_RELOCATES, /* as documented: moved so that it merges; plainly, or EFAULT, where it cannot
                         be */
    DOUBLE_MOVES,     /* success, but it was a plain move: nothing merges */
    DOUBLE_LOSES,     /* it merges, and reads zeroes */
};

/* The calls that are told apart. */
enum double_kind { DOUBLE_PLAIN, DOUBLE_8, DOUBLE_16, DOUBLE_KINDS };

struct double_call {
    pid_t thread;
    long number; /* SYS_mremap, SYS_userfaultfd, or SYS_ioctl of a userfaultfd */
    unsigned long addr;
    unsigned long old_size;
    unsigned long new_size;
    unsigned long flags; /* of an ioctl: the request */
    unsigned long dst;
    long result; /* of mremap only: a value or a negative errno */
};

/*
 * Called first in a case: what follows runs in a child of this process, under the double, which
 * relocates. The caller itself is the double from then on, and exits as the child does. Skips where
 * a process cannot be traced.
 */
void under_double(void);

/* The rest is called under the double (or before). A test must be alone in giving orders. */
void double_answers(enum double_kind kind, long answer);      /* from now on */
void double_answers_once(enum double_kind kind, long answer); /* the next call only */
void double_uname(const char *release); /* what uname(2) says; "": what the kernel says */

size_t double_count(void);                         /* calls so far */
const struct double_call *double_call(size_t nth); /* from 0 */

#endif
