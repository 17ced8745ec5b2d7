/* SPDX-License-Identifier: MIT */
/*
 * What belongs to glibc's malloc. Both take NULL if the memory of the process cannot be read.
 */
#ifndef REMAPSTAT_MALLOC_KINDS_H
#define REMAPSTAT_MALLOC_KINDS_H

#include "mappings.h"
#include "memory.h"

/* Arenas beside [heap]: by their headers, else by their shape. */
void label_arenas(struct mappings *m, const struct memory *memory);

/* Blocks with a mapping of their own: by their headers; nothing else tells them from other memory.
 */
void label_chunks(struct mappings *m, const struct memory *memory);

#endif
