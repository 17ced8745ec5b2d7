/* SPDX-License-Identifier: MIT */
/*
 * Address space of our own, far from where the program's mappings lie.
 *
 * mremap() leaves holes, and programs move memory back into them with MREMAP_FIXED. The kernel puts
 * a new mapping into the first hole that fits: one of ours would be destroyed there. So what the
 * library maps lies in the middle of the address space, between the heap and the mappings, where
 * neither the kernel nor, in practice, programs put anything. It also leaves the kernel's choice of
 * addresses for the program what it was. Async-signal-safe, thread-safe.
 */
#ifndef REMAP_ZONE_H
#define REMAP_ZONE_H

#include <stddef.h>
#include <stdint.h>

/* Hints rotate through this much: transient reservations do not get in each other's way, and stay
 * under few page directories. */
#define ZONE_SIZE (64ul << 30)

/* Where it begins in a program whose AT_RANDOM (getauxval(3)) is this: half way up to the main
 * stack, randomized as that is, and below all mappings. */
static inline uintptr_t zone_base(uintptr_t at_random)
{
    return at_random / 2 & ~((uintptr_t)(1ul << 30) - 1);
}

/* A mapping in the zone, whose address is returned; or -errno. Arguments as for mmap(2). */
long zone_map(size_t length, int prot, int flags, int fd);

/* The same, as a reservation: address space only. */
long zone_reserve(size_t length);

#endif
