/* SPDX-License-Identifier: MIT */
#ifndef REMAPSTAT_STACK_KINDS_H
#define REMAPSTAT_STACK_KINDS_H

#include "mappings.h"
#include "procfs.h"

/*
 * The stacks of threads: mappings into which a stack pointer points, with the guard pages below;
 * then those of the same shape, which are the stacks of threads that are just running (the kernel
 * does not tell their stack pointers) or have ended (glibc keeps some).
 */
void label_stacks(struct mappings *m, const struct procfs *p);

/* The part that does not ask the kernel. `pointers` are sorted; `usual` is the size of the stacks
 * of threads that ask for no other, 0 if it is not known. */
void label_stacks_at(struct mappings *m, const uint64_t *pointers, size_t count, uint64_t usual);

/* Guard pages below stacks that were labelled otherwise. */
void label_guards(struct mappings *m);

#endif
