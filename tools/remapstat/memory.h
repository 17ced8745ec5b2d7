/* SPDX-License-Identifier: MIT */
/*
 * The memory of another process, as far as it is in memory: a page that is not is left alone, so
 * that looking neither populates memory nor swaps it in, nor waits for anybody.
 */
#ifndef REMAPSTAT_MEMORY_H
#define REMAPSTAT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "procfs.h"

struct memory {
    int mem, pagemap;
    uint64_t page_size;
};

/* False if the caller may not read it: that needs more rights than /proc/PID/maps does. */
bool memory_open(struct memory *m, const struct procfs *p);
void memory_close(struct memory *m);

/* `size` bytes within one page. */
bool memory_read(const struct memory *m, uint64_t address, void *to, size_t size);

#endif
