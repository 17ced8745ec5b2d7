/* SPDX-License-Identifier: MIT */
/*
 * What native.c and native_answers.c share: scenes under the double, what the double has seen of
 * them, and the three states in which the native tier can be. Nothing here may be called by two
 * threads at a time.
 */
#ifndef TESTS_NATIVE_SCENE_H
#define TESTS_NATIVE_SCENE_H

#include "double.h"
#include "lib.h"

#define LEN (8 * PAGE)

/* ---- what the double has seen since watch() ---- */

void watch(void);
size_t flagged(void);   /* mremap() with 8 or 16 */
size_t unflagged(void); /* mremap() without */
/* So many calls of any kind. */
void saw_calls(size_t count);
/* The nth call is this mremap(), argument by argument. */
void saw(size_t nth, const void *src, size_t old_size, size_t new_size, int flags, const void *dst);

/* ---- scenes ---- */

/* A faulted piece `src`, and another one `row` beside which there is room for it at `dst`. */
struct scene {
    char *row;
    char *dst;
    char *src;
};
struct scene scene(void);
void check_moved(const struct scene *s, const char *got);
void check_not_moved(const struct scene *s);
/* Moves one with these flags more than MAYMOVE and FIXED; did the two become one VMA? */
bool move_merges(int flags);
/* A faulted piece of shared memory, which no flag relocates. */
char *shared_piece(void);

/* ---- what the shim says ---- */

uint64_t outcomes(enum remap_outcome outcome);
int answer_to(enum remap_feature feature);
/* Relocation without the flag is possible as well. */
bool has_uffd(void);

/* ---- states ---- */

/* Under the double, with the probe done. Skips where plain moves merge by themselves. */
void begin(void);
/* The same; the tier is native. */
void begin_native(void);
/* Moves use the flag: one call each, and they merge. */
void check_alive(void);
/* Moves do not use the flag. What else there is, is used. */
void check_unused(void);
/* A move with 16: done by whatever can (true), or refused as documented where nothing can. */
bool check_demand(void);

#endif
