/* SPDX-License-Identifier: MIT */
/*
 * The state of this process, made on the first call that could move something.
 *
 * It lives in pages of its own that a fork() wipes (MADV_WIPEONFORK): a child, however it was
 * forked, finds zeroes, forgets what belongs to its parent's address space (the userfaultfd, the
 * /proc files, the statistics) and starts anew. What stays true in a child (options, probe results)
 * is kept outside. Everything here is async-signal-safe; who needs what
 * another thread is just making or reopening yields to it for a bounded number of times.
 */
#ifndef REMAP_PROCESS_H
#define REMAP_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "descriptor.h"
#include "options.h"
#include "probe.h"
#include "remap_stats.h"
#include "vma.h"

struct process {
    _Atomic uint32_t ready;       /* 1 once all below is valid; 0: a forked child's view */
    _Atomic uint32_t ours;        /* settled: nothing inherited is in the way; 0: a child's view */
    _Atomic uint32_t native_dead; /* the kernel answered EINVAL to its own flag */
    _Atomic uint32_t armed;       /* the program follows its memory with a userfaultfd of its own */
    _Atomic uint32_t reopening;   /* one thread replaces lost descriptors */
    struct descriptor maps;
    struct descriptor pagemap;
    struct descriptor uffd;
    _Atomic uintptr_t last_start; /* the range relocated last, see process_adjoins_last() */
    _Atomic uintptr_t last_end;
    _Atomic int last_prot;
    struct remap_stats *stats; /* the file, or `local` */
    char stats_path[256];      /* "" if there is no file */
    struct remap_stats local;
};

enum process_activity {
    PROCESS_INERT, /* policy off, not in REMAP_EXE, AT_SECURE: as if we were not here */
    PROCESS_ACTIVE,
};

/* From the constructor or the first call: reads the options once. envp may be NULL. */
void process_init(char *const *envp);
enum process_activity process_activity(void);
const struct remap_options *process_options(void);

/* Says whether calls that arrive this way are seen (why NONE or INHERITED), or why not. Before
 * other threads exist: from the constructor. `error`: a negative errno, or 0. */
void process_set_way(enum remap_way way, enum remap_why why, long error);

/* The statistics file is to have a table of call sites. From the constructor. */
void process_record_sites(void);

/* How many threads this process has, or a negative errno. */
long process_threads(void);

/* The state, made if need be; NULL: it cannot be had (no memory, no room for VMAs), or another
 * thread is still making it after the patience for that has run out. */
struct process *process_get(void);
/* True while another thread is making it. */
bool process_is_starting(void);
/* The state if it has been made, else NULL. */
struct process *process_peek(void);

const struct probe_result *process_probe(void); /* after process_get() only */

/*
 * Descriptors: make sure they are ours before use, reopen them if the program closed them. False:
 * cannot be had just now.
 */
bool process_have_uffd(struct process *proc);
bool process_have_pagemap(struct process *proc);
/* Closes the userfaultfd: the kernel then unregisters all its ranges and wakes all waiters. */
void process_drop_uffd(struct process *proc);

/* vma_at() and vma_list() with the descriptor of this process. */
long process_vma_at(struct process *proc, uintptr_t addr, struct vma *out);
long process_vmas(struct process *proc, uintptr_t start, uintptr_t end, struct vma *out,
                  size_t max);

/*
 * Compaction puts range beside range: true if [start, end) adjoins the range relocated last, with
 * the same protection. A hint that saves looking; nothing but merging after a later mprotect()
 * depends on it.
 */
void process_set_last(struct process *proc, uintptr_t start, uintptr_t end, int prot);
bool process_adjoins_last(struct process *proc, uintptr_t start, uintptr_t end, int prot);

/* The program has opened a userfaultfd through syscall(). From then on each source is tested for
 * one that watches it. (Other ways to open one are noticed when it gets in our way.) */
void process_saw_userfaultfd(void);
bool process_has_other_uffd(void);

/* In a forked child, by whatever call it was forked: forgets what the parent was in the middle of.
 * Called before anything that could be found in the middle; cheap when there is nothing to do. */
void process_settle(void);
/* pthread_atfork child handler: the same, where it is known that there is one thread. */
void process_in_child(void);
/* At exit: removes the statistics file unless it is to be kept. */
void process_end(void);

#endif
