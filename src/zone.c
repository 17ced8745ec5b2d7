/* SPDX-License-Identifier: MIT */
#include "zone.h"

#include <stdatomic.h>
#include <sys/auxv.h>

#include "kernel.h"
#include "page_size.h"

#define ATTEMPTS 8

static _Atomic uintptr_t used;

long zone_map(size_t length, int prot, int flags, int fd)
{
    size_t step = (length + 2 * huge_size() - 1) & ~(huge_size() - 1);
    for (int i = 0; i < ATTEMPTS && step < ZONE_SIZE; i++) {
        uintptr_t at = atomic_fetch_add_explicit(&used, step, memory_order_relaxed) % ZONE_SIZE;
        if (at + step > ZONE_SIZE)
            continue;
        uintptr_t hint = zone_base(getauxval(AT_RANDOM)) + at;
        long ret = k_mmap(hint, length, prot, flags, fd); /* a hint, not FIXED: nothing is lost */
        if (k_failed(ret) || (uintptr_t)ret == hint)
            return ret;
        k_munmap((uintptr_t)ret, length);
    }
    return -ENOMEM;
}

long zone_reserve(size_t length)
{
    return zone_map(length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}
