/* SPDX-License-Identifier: MIT */
/*
 * Rows of VMAs for one mremap() that spans them: made from a table, moved by the kernel or under
 * the shim, and compared part by part: contents, protection, order, gaps.
 */
#ifndef TESTS_ROWS_H
#define TESTS_ROWS_H

#include "lib.h"

enum part_kind {
    GAP,
    DATA,
    EMPTY,
    READ_ONLY,
    NO_ACCESS,
    LOCKED,
    PRIVATE_FILE,
    MEMFD,
    SHARED,
    ZERO_DEVICE,
    ARMED,  /* by the program's own userfaultfd */
    HIDDEN, /* the same, opened in a way that the shim cannot see */
    SEALED,
};

/* What is anonymous and faulted has been moved to its place by the kernel, so it is a VMA of its
 * own. Part i holds the pattern i + 1. */
struct part {
    enum part_kind kind;
    unsigned pages;
};

#define COUNT(parts) (sizeof(parts) / sizeof((parts)[0]))

struct row {
    const struct part *parts;
    size_t count;
    size_t size;
    char *src;
    char *dst; /* from a page before it to a page behind it: memory with the pattern MARK */
};

enum { MARK = 4711 };

struct row make_row(const struct part *parts, size_t count);
/* The part number `first` is made before all others, and `then` runs before those. */
struct row make_row_around(const struct part *parts, size_t count, size_t first,
                           void (*then)(void));
size_t offset_of(const struct row *row, size_t part);
void make_part(char *at, struct part part, unsigned seed);
/* Seals memory (mseal) or skips the case. */
void seal(char *at, size_t size);

/* The result, or -errno: of the kernel (then without the shim's flags), or under the shim. */
long ask(bool shimmed, const char *src, size_t old_size, size_t new_size, int flags,
         const char *dst);
long ask_row(bool shimmed, const struct row *row, int flags);
/* Whether this kernel moves several VMAs by itself (Linux 6.17). */
bool kernel_spans(void);

/* A part as it was made, wherever it is now. */
void check_part(char *at, struct part part, unsigned seed);
/* The first `moved` parts have arrived (`kept`: with DONTUNMAP), the others are where they were. */
void check_row(const struct row *row, size_t moved, bool kept);
/* Nothing of the source has changed; the destination may have gone. */
void check_source(const struct row *row);

/* Moves a row and checks it, by the kernel alone where it can do that, then under the shim: that
 * one is returned. */
struct row move_row(const struct part *parts, size_t count, int flags);

#endif
