/* SPDX-License-Identifier: MIT */
/*
 * Our file descriptors inside a program that does not know of them.
 *
 * Programs close descriptors they do not know (closefrom, close_range) and the numbers are used
 * again. A descriptor of ours lies far from the low numbers, is CLOEXEC, and is checked before it
 * is trusted: device and inode must be those it was opened with. (A userfaultfd has an inode of its
 * own since Linux 5.12.) Async-signal-safe.
 */
#ifndef REMAP_DESCRIPTOR_H
#define REMAP_DESCRIPTOR_H

#include <stdbool.h>
#include <stdint.h>

struct descriptor {
    int fd; /* -1: none */
    uint64_t device;
    uint64_t inode;
};

#define DESCRIPTOR_NONE ((struct descriptor){.fd = -1})

/* The lowest number that ours have: far from what programs use, within the usual soft limit. */
long descriptor_first(void);

/* Takes over fd (closing it) and fills in *d. 0 or -errno; on an error fd is closed and d->fd -1.
 */
long descriptor_adopt(struct descriptor *d, int fd);

/* True if the number still means what it meant. */
bool descriptor_is_ours(const struct descriptor *d);

/* Closes it if it is still ours; d->fd becomes -1. */
void descriptor_close(struct descriptor *d);

/* Opens a file of /proc/self read-only. 0 or -errno. */
long descriptor_open_proc(struct descriptor *d, const char *path);

/*
 * A userfaultfd. user_mode_only: kernel-mode faults on the ranges fail instead of waiting; the only
 * kind that is allowed without privilege where vm.unprivileged_userfaultfd is 0. -EINVAL: it lacks
 * one of `features` (K_UFFD_FEATURE_*).
 */
long descriptor_open_uffd(struct descriptor *d, bool user_mode_only, uint64_t features);

#endif
