/* SPDX-License-Identifier: MIT */
/*
 * What the benchmarks share: time, samples, system calls that no preloaded library sees, and a look
 * at our own mappings. Every function that can fail ends the program with a message.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "remap.h"

#define KIB  ((size_t)1 << 10)
#define MIB  ((size_t)1 << 20)
#define HUGE (2 * MIB)

/* CLOCK_MONOTONIC. */
uint64_t now_ns(void);

_Noreturn void die(const char *what);

/* splitmix64; `state` is any number. */
uint64_t draw(uint64_t *state);

/*
 * mremap as an instruction of our own: libc's mremap() and syscall() may both be the shim's.
 * Returns what the kernel returned (-errno on failure).
 */
long raw_mremap(void *old, size_t old_bytes, size_t new_bytes, int flags, void *target);

/* ---- samples ---- */

/* `values` is sorted by these two; p from 0 to 1, 0.5 being the median. */
double percentile(double *values, size_t count, double p);
double median(double *values, size_t count);

/* "3.21 us", in a buffer of 32 bytes. */
const char *show_ns(char *buffer, double ns);

/* ---- memory ---- */

/* Readable and writable, 4 KiB pages only, aligned to 2 MiB, with 2 MiB reserved around it. */
char *map_small_pages(size_t length);

/* The same with huge pages asked for. */
char *map_huge_pages(size_t length);

/* Inaccessible address space, aligned to 2 MiB; nobody else's mappings get into its holes as long
 * as the free space above it lasts. */
char *map_reserved(size_t length);

/* A word in each page that follows from `seed` and the page's index. */
void fill_pages(char *start, size_t length, uint64_t seed);
/* The number of pages where it is wrong. */
size_t wrong_pages(const char *start, size_t length, uint64_t seed);

/* KiB of huge pages in the VMAs of [start, start + length). */
unsigned long huge_kib(const char *start, size_t length);

/* Lines of /proc/self/maps that overlap [start, end). */
unsigned count_vmas(uintptr_t start, uintptr_t end);

/* ---- userfaultfd ---- */

/* Ready for use, UFFDIO_MOVE included; -1 where the kernel has none. */
int uffd_open(void);
void uffd_register(int uffd, char *start, size_t length);
void uffd_unregister(int uffd, char *start, size_t length);
/* Moves populated pages until all have moved. */
void uffd_move(int uffd, char *target, char *source, size_t length);

/* ---- the shim ---- */

/* Where libremap is loaded: copies its counters and returns true. */
bool shim_statistics(struct remap_stats *stats);

#endif
