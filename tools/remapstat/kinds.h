/* SPDX-License-Identifier: MIT */
/*
 * What the mappings of a process are for: each VMA has one kind, and each kind a count.
 *
 * The kernel tells little: names of files, of [heap] and [stack], of memory that somebody has
 * named. The rest is found out without disturbing the process: from stack pointers, from the
 * headers that malloc writes, from how a JVM lays out its memory. Only `ask` goes further: it has
 * jcmd ask the JVM, which starts a thread there.
 */
#ifndef REMAPSTAT_KINDS_H
#define REMAPSTAT_KINDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mappings.h"
#include "procfs.h"

/* X(identifier, key, help) */
#define KINDS(X)                                                                                   \
    X(JAVA_HEAP, "java_heap", "objects of the Java program")                                       \
    X(JAVA_CODE, "code_cache", "what the JVM compiled")                                            \
    X(JAVA_CLASSES, "metaspace", "metaspace, class space and CDS archive of the JVM")              \
    X(JAVA_GC, "jvm_gc", "card tables, bitmaps and the like of the JVM's collector")               \
    X(JAVA_OTHER, "jvm_other", "other memory of the JVM")                                          \
    X(STACKS, "stacks", "stacks of threads and their guard pages")                                 \
    X(ARENAS, "malloc_arenas", "malloc: [heap], and the arenas of glibc")                          \
    X(CHUNKS, "malloc_chunks", "malloc: large blocks of glibc, each with its own mapping")         \
    X(ANONYMOUS, "anonymous", "other private anonymous memory")                                    \
    X(NO_ACCESS, "no_access", "private anonymous memory without access: guards, reservations")     \
    X(SHARED, "shared", "shared memory: memfd, /dev/shm, System V, anonymous")                     \
    X(FILES, "files", "programs and libraries with their bss, other files")                        \
    X(SPECIAL, "special", "the kernel's: [vdso], [vvar], io_uring and the like")                   \
    X(REMAP, "libremap", "libremap: library, state, statistics file")

#define KIND_ID_(id, key, help) KIND_##id,
/* KIND_OPEN: not known yet. */
enum kind { KINDS(KIND_ID_) KIND_COUNT, KIND_OPEN = KIND_COUNT };
#undef KIND_ID_

extern const char *const kind_keys[KIND_COUNT];
extern const char *const kind_help[KIND_COUNT];

/* Where what is said about a JVM comes from. */
enum java_source {
    JAVA_NONE,   /* it is no JVM */
    JAVA_LAYOUT, /* from how JVMs lay out their memory */
    JAVA_INFO,   /* from the JVM: VM.info */
    JAVA_NMT,    /* from the JVM: native memory tracking */
    JAVA_SOURCES
};

extern const char *const java_source_keys[JAVA_SOURCES];

struct kinds {
    struct {
        uint64_t vmas, bytes;
    } of[KIND_COUNT], total;
    enum java_source java;
    bool headers;      /* the process's memory could be read: malloc's headers were */
    char problem[256]; /* why the JVM could not be asked; escaped, "" if nothing is wrong */
};

/* Of what the caller knows already. */
struct kinds_hints {
    bool shim;            /* the library is loaded */
    uint64_t stats_start; /* of the mapping of the statistics file, 0 if there is none */
    uint64_t caught;      /* signals that the process catches */
    bool ask;             /* ask the JVM */
};

/* Labels `m` and counts. Never fails: what cannot be found out is anonymous memory. */
void kinds_find(struct kinds *k, struct mappings *m, const struct procfs *p,
                const struct kinds_hints *hints);

/* Kinds that have VMAs, the one with most of them first. Returns how many. */
size_t kinds_order(const struct kinds *k, enum kind order[KIND_COUNT]);

#endif
