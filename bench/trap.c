/* SPDX-License-Identifier: MIT */
/*
 * REMAP_CATCH=trap: what a call costs that arrives as a trapped system call instruction, beside the
 * same call through the symbol. Both in one process under the shim, in turns.
 *
 * usage: LD_PRELOAD=LIBREMAP REMAP_CATCH=symbol,trap REMAP_TRAP=always bench-trap
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define FLOOR_NS 5000.0
#define ROUNDS   2000u
#define PAGE     (4 * KIB)

typedef void *remap_fn(void *old, size_t old_bytes, size_t new_bytes, int flags, void *target);

static void *trapped(void *old, size_t old_bytes, size_t new_bytes, int flags, void *target)
{
    return (void *)raw_mremap(old, old_bytes, new_bytes, flags, target);
}

static void *called(void *old, size_t old_bytes, size_t new_bytes, int flags, void *target)
{
    return mremap(old, old_bytes, new_bytes, flags, target);
}

static char *places[2]; /* where the memory is, and where it goes */
static size_t length;

static void must(const void *result, const void *wanted)
{
    if (result != wanted) {
        fputs("bench-trap: mremap did not do what it should\n", stderr);
        exit(1);
    }
}

static double same_size(remap_fn *remap)
{
    uint64_t started = now_ns();

    must(remap(places[0], length, length, MREMAP_MAYMOVE, NULL), places[0]);
    return (double)(now_ns() - started);
}

static double move(remap_fn *remap)
{
    char *source = places[0];
    uint64_t started = now_ns();

    must(remap(source, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, places[1]), places[1]);
    started = now_ns() - started;
    places[0] = places[1];
    places[1] = source;
    return (double)started;
}

static void row(const char *name, double (*call)(remap_fn *), size_t bytes)
{
    static double by_symbol[ROUNDS], by_trap[ROUNDS], differences[ROUNDS];
    char text[3][32];
    double difference;

    length = bytes;
    places[0] = map_small_pages(length);
    places[1] = map_reserved(length) + 5 * PAGE;
    fill_pages(places[0], length, 1);
    call(called);
    call(trapped);
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (i % 2)
            by_trap[i] = call(trapped);
        by_symbol[i] = call(called);
        if (i % 2 == 0)
            by_trap[i] = call(trapped);
        differences[i] = by_trap[i] - by_symbol[i];
    }
    if (wrong_pages(places[0], length, 1)) {
        fputs("bench-trap: contents are lost\n", stderr);
        exit(1);
    }
    difference = median(differences, ROUNDS);
    printf("%-24s %11s %11s %11s  5.00 us %s\n", name, show_ns(text[0], median(by_symbol, ROUNDS)),
           show_ns(text[1], median(by_trap, ROUNDS)), show_ns(text[2], difference),
           difference <= FLOOR_NS ? "ok" : "MISSED");
}

int main(void)
{
    struct remap_stats stats;

    if (!shim_statistics(&stats)) {
        fputs("bench-trap: run with LD_PRELOAD=<build>/libremap.so\n", stderr);
        return 2;
    }
    if (!stats.ways[REMAP_WAY_TRAP].seen) {
        fputs("no trap here; REMAP_CATCH=symbol,trap REMAP_TRAP=always\n", stderr);
        return 77;
    }
    printf("%-24s %11s %11s %11s  %s\n", "call", "symbol", "trapped", "difference", "floor");
    row("same size", same_size, 16 * PAGE);
    row("move 4 KiB", move, PAGE);
    row("move 64 KiB", move, 16 * PAGE);
    row("move 1 MiB", move, 256 * PAGE);
    return 0;
}
