/* SPDX-License-Identifier: MIT */
/*
 * The native part of a relocating collector: a reserved range of address space, and the calls that
 * make pages in it usable, move them and give them back. Which pages, and who may touch them when,
 * is decided in Java. Knows nothing of libremap but its header.
 *
 * Places in the range are offsets in bytes. Errors become IllegalStateException.
 */
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../maps.h"
#include "Heap.h"
#include "remap.h"

/*
 * A moved object leaves a hole until its region is released, and the JVM maps memory at any time.
 * The kernel takes the highest hole that fits, so free space is left above the range.
 */
#define HEADROOM (16ull << 30)

static char *range;
static size_t range_bytes;

static void fail(JNIEnv *env, const char *call)
{
    int error = errno;
    char text[128];
    unsigned vmas, runs;
    jclass type = (*env)->FindClass(env, "java/lang/IllegalStateException");

    count_mappings(&vmas, &runs);
    snprintf(text, sizeof text, "%s: %s (%u VMAs, vm.max_map_count=%lu)", call, strerror(error),
             vmas, max_map_count());
    if (type) /* else an exception is pending already */
        (*env)->ThrowNew(env, type, text);
}

/* Objects are smaller than a huge page and are moved one by one. Where the kernel knows no huge
 * pages it refuses the advice, and nothing is lost. */
static void advise(char *address, size_t length)
{
    madvise(address, length, MADV_NOHUGEPAGE);
}

jobject Java_Heap_reserve(JNIEnv *env, jclass type, jlong bytes)
{
    size_t length = (size_t)bytes;
    char *address = mmap(NULL, length + HEADROOM, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    (void)type;
    if (address == MAP_FAILED || munmap(address + length, HEADROOM)) {
        fail(env, "mmap");
        return NULL;
    }
    range = address;
    range_bytes = length;
    advise(range, range_bytes);
    return (*env)->NewDirectByteBuffer(env, range, bytes);
}

void Java_Heap_commit(JNIEnv *env, jclass type, jlong offset, jlong length)
{
    (void)type;
    if (mprotect(range + offset, (size_t)length, PROT_READ | PROT_WRITE))
        fail(env, "mprotect");
}

void Java_Heap_release(JNIEnv *env, jclass type, jlong offset, jlong length)
{
    (void)type;
    if (mmap(range + offset, (size_t)length, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        fail(env, "mmap");
    else
        advise(range + offset, (size_t)length);
}

jlong Java_Heap_move(JNIEnv *env, jclass type, jlong from, jlong to, jlong length)
{
    struct timespec before, after;
    void *moved;

    (void)type;
    clock_gettime(CLOCK_MONOTONIC, &before);
    moved = mremap(range + from, (size_t)length, (size_t)length, MREMAP_MAYMOVE | MREMAP_FIXED,
                   range + to);
    clock_gettime(CLOCK_MONOTONIC, &after);
    if (moved == MAP_FAILED)
        fail(env, "mremap");
    return (after.tv_sec - before.tv_sec) * 1000000000l + after.tv_nsec - before.tv_nsec;
}

/* The library's own count, where it is preloaded. */
static long relocated(void)
{
    int (*statistics)(struct remap_stats *, size_t);
    void *symbol = dlsym(RTLD_DEFAULT, "remap_statistics");
    struct remap_stats stats;

    memcpy(&statistics, &symbol, sizeof statistics); /* ISO C knows no such cast */
    if (!symbol || statistics(&stats, sizeof stats) != 0)
        return -1;
    return (long)stats.counters.relocated;
}

jstring Java_Heap_figures(JNIEnv *env, jclass type)
{
    unsigned vmas, runs, range_vmas, range_runs;
    char text[160];

    (void)type;
    count_mappings(&vmas, &runs);
    count_mappings_within((uintptr_t)range, (uintptr_t)range + range_bytes, &range_vmas,
                          &range_runs);
    snprintf(text, sizeof text, "range_vmas=%u range_runs=%u vmas=%u runs=%u relocated=%ld",
             range_vmas, range_runs, vmas, runs, relocated());
    return (*env)->NewStringUTF(env, text);
}
