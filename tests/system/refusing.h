/* SPDX-License-Identifier: MIT */
/* System calls that fail: a seccomp filter refuses those that fit a description. */
#ifndef TESTS_REFUSING_H
#define TESTS_REFUSING_H

#include <seccomp.h>

#define LOW32 0xffffffffu

struct fault {
    int number; /* of the system call */
    unsigned count;
    struct scmp_arg_cmp compare[4];
};

/* From now on in all threads, for good. Skips where no filter may be installed. */
void inject(const struct fault *fault, int error);

/* Body of a thread that does nothing: waits for one byte on the descriptor. */
void *stay(void *descriptor);

#endif
