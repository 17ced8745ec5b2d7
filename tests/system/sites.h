/* SPDX-License-Identifier: MIT */
/*
 * What the tests of call sites share: the table as a reader sees it, and functions that move
 * memory, each of them a place that can be told from the others.
 */
#ifndef TESTS_SITES_H
#define TESTS_SITES_H

#include "lib.h"

#define SITE_LEN (4 * PAGE)
/* Functions that are looked for begin at multiples of this, and have no more code. */
#define CODE 2048
#if __has_attribute(noclone)
#define PLACE __attribute__((noinline, noclone, aligned(CODE)))
#else
#define PLACE __attribute__((noinline, aligned(CODE)))
#endif
#define STAY() __asm__ volatile("" ::: "memory") /* what comes before it is no tail call */

struct site_table {
    bool there;
    struct remap_stats stats;
    struct remap_stats_sites head;
    size_t count;
    struct remap_stats_site sites[256];
};
extern struct site_table now;

/* Fills in `now` from the file of a process. */
void read_table_of(pid_t pid);
/* Of this process; checks that every move is in a site or dropped. */
void read_table(void);

/* True for return addresses in a function that is a PLACE. */
static inline bool is_in(uint64_t address, uintptr_t function)
{
    return address > function && address <= function + CODE;
}

/* The site whose frame number `frame` is in `function`; NULL: none; fails the test if several. */
const struct remap_stats_site *site_in(uintptr_t function, unsigned frame);

/* A range that goes to and fro: made first, then moved by different functions. */
extern char *slots[2];
extern unsigned at_slot;
void ready_to_move(void);
void move(void);
void move_otherwise(void);
/* move() below so many calls of itself. */
void descend(unsigned depth);

/* Another range that a handler moves; flags: of sigaction(). */
extern unsigned handler_moves;
void move_in_handler(int number);
void move_on_signal(int number, int flags);
/* Sends itself SIGUSR1. */
void interrupted(void);

#define DEEP "REMAP_CALLERS=16"

#endif
