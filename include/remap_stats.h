/* SPDX-License-Identifier: MIT */
/*
 * The statistics channel: one file for each process that moved memory.
 *
 * This header is the only definition of the layout. The library writes it, remapstat reads it, a
 * test pins every offset. The file is `struct remap_stats`, in the byte order of the machine.
 *
 * Where:   $REMAP_STATS_DIR, else $XDG_RUNTIME_DIR/remap, else /dev/shm/remap-<uid>; the file is
 *          named after the process id (a second process with the same id, from another pid
 *          namespace, gets "<pid>.1", "<pid>.2" and so on).
 * Owner:   created 0600 in a 0700 directory, written in full before it is mapped.
 * Life:    the writer holds flock(LOCK_EX) on the file for as long as it maps it. A file that a
 *          reader can lock belongs to nobody any more. After fork() the child has a file of its
 *          own, from its first move; after exec() the old file is stale.
 * Updates: every counter is a naturally aligned 64-bit word, updated with relaxed atomic adds and
 *          never locked. A reader sees each word whole; words may be a few nanoseconds apart.
 *          `ready` is stored last (release): a file whose `ready` is not 1 is not yet to be read.
 *
 * Versions: `version_major` changes when a field moves, is removed or changes its meaning; readers
 * refuse a major version they do not know. `version_minor` changes when something is added at the
 * end or in a reserved place; readers take what they know. `size` is the writer's sizeof.
 */
#ifndef REMAP_STATS_H
#define REMAP_STATS_H

#include <stdint.h>

#define REMAP_STATS_MAGIC         "REMAPSTA" /* 8 bytes, no NUL */
#define REMAP_STATS_VERSION_MAJOR 1u
#define REMAP_STATS_VERSION_MINOR 2u
/* Minor versions: 1: the tier copy, moves over several VMAs. 2: the ways of calls, call sites. */

/*
 * What became of a call. Every mremap() seen is counted under exactly one outcome.
 *   X(identifier, stable key, help)
 */
#define REMAP_OUTCOMES(X)                                                                          \
    X(PASSED, "passed",                                                                            \
      "handed to the kernel unchanged: no move, no anonymous memory, or REMAP_POLICY=observe")     \
    X(IN_PLACE, "in_place", "grown without a move")                                                \
    X(NATIVE, "native", "moved by the kernel with its own relocation flag")                        \
    X(UFFD, "uffd", "relocated by the shim with UFFDIO_MOVE")                                      \
    X(PLAIN, "plain", "moved by plain mremap although relocation was considered")                  \
    X(FAILED, "failed", "the call returned an error")                                              \
    X(COPY, "copy", "relocated by the shim by copying the pages")

/* NATIVE: the kernel accepted its flag; where it fell back to a plain move (pages shared with a
 * child, say) it does not tell, but then nothing is counted as merged. */

/*
 * Why a call was passed through, moved plainly or failed. NONE goes with the other outcomes.
 */
#define REMAP_REASONS(X)                                                                           \
    X(NONE, "none", "nothing to explain")                                                          \
    X(POLICY, "policy", "REMAP_POLICY is observe, so nothing may change")                          \
    X(NO_MOVE, "no_move", "the flags do not allow a move, or a shrink needs none")                 \
    X(KERNEL, "kernel", "the kernel refused the call itself: same errno as without the shim")      \
    X(NOT_ANON, "not_anon", "a file, shared or special mapping")                                   \
    X(NOT_MAPPED, "not_mapped", "the range is not mapped")                                         \
    X(MULTI_VMA, "multi_vma", "the range spans several VMAs that cannot be moved one by one")      \
    X(EMPTY, "empty", "no page is populated: a plain move merges by itself")                       \
    X(TOO_SMALL, "too_small", "less than REMAP_MIN_BYTES")                                         \
    X(TOO_BIG, "too_big", "more populated memory than REMAP_MAX_BYTES")                            \
    X(NO_TIER, "no_tier", "no tier that REMAP_ENGINE allows can relocate here")                    \
    X(MERGES, "merges", "plain moves merge by themselves on this kernel")                          \
    X(STARTING, "starting", "another thread was just starting the engine")                         \
    X(FORKING, "forking", "a fork() was under way")                                                \
    X(NO_LOOK, "no_look", "/proc/self could not tell what is mapped")                              \
    X(HUGE_SPLIT, "huge_split", "a huge page would have had to be split")                          \
    X(HUGE_UNSAFE, "huge_unsafe", "moving huge pages is not safe on this kernel")                  \
    X(ARMED, "armed", "the program's own userfaultfd watches the range")                           \
    X(LIMIT, "limit", "no room for the transient mappings (map count, address space, memory)")     \
    X(SHARED_PAGES, "shared_pages", "pages are shared with a forked child, or pinned")             \
    X(LOCK, "lock", "the lock state of the source could not be carried over")                      \
    X(PROTECTION, "protection", "the protection could not be changed for the move")                \
    X(STEP, "step", "a step of the engine failed; see the errors by step")                         \
    X(MUST, "must", "relocation was demanded (MREMAP_MUST_RELOCATE_ANON) and not possible")

/* The engine's steps, in order: an error is counted by step and by errno. */
#define REMAP_STEPS(X)                                                                             \
    X(DESCRIPTOR, "descriptor", "the userfaultfd is not ours any more and could not be reopened")  \
    X(RESERVE, "reserve", "address space for the transient mappings")                              \
    X(TAKE, "take", "mremap of the source to a place of our own")                                  \
    X(PARK, "park", "mremap(DONTUNMAP) of the pages to the parking place")                         \
    X(PLACE, "place", "mremap of the emptied VMA to its destination")                              \
    X(PROTECT, "protect", "mprotect for the time of the move")                                     \
    X(ANON_VMA, "anon_vma", "giving the destination its anon_vma")                                 \
    X(REGISTER, "register", "UFFDIO_REGISTER of the destination")                                  \
    X(MOVE, "move", "UFFDIO_MOVE of the pages")                                                    \
    X(SETTLE, "settle", "UFFDIO_UNREGISTER of the destination")                                    \
    X(UNDO, "undo", "moving pages back after a refusal")                                           \
    X(LOOK, "look", "asking /proc/self where pages are")                                           \
    X(COPY, "copy", "UFFDIO_COPY of the pages")

/* The ways to move, in order of preference. */
#define REMAP_TIERS(X)                                                                             \
    X(NONE, "none", "plain mremap")                                                                \
    X(NATIVE, "native", "MREMAP_RELOCATE_ANON of the kernel")                                      \
    X(UFFD, "uffd", "UFFDIO_MOVE by the shim")                                                     \
    X(COPY, "copy", "the pages copied by the shim")

/* The ways by which calls arrive: the words of REMAP_CATCH, in this order. */
#define REMAP_WAYS(X)                                                                              \
    X(SYMBOL, "symbol", "mremap() of a program or library")                                        \
    X(SYSCALL, "syscall", "syscall(SYS_mremap) of a program or library")                           \
    X(REALLOC, "realloc", "calls inside libc: realloc()")                                          \
    X(TRAP, "trap", "system calls made otherwise, trapped by a seccomp filter")

/* Why calls that arrive by such a way are, or are not, seen. */
#define REMAP_WHYS(X)                                                                              \
    X(NONE, "none", "seen")                                                                        \
    X(NOT_ASKED, "not_asked", "not in REMAP_CATCH")                                                \
    X(INERT, "inert", "the library does nothing in this program")                                  \
    X(LIBC, "libc", "libc is not glibc, or has no mremap()")                                       \
    X(CODE, "code", "the code of libc's mremap() is not known, or somebody else has hooked it")    \
    X(THREADS, "threads",                                                                          \
      "other threads exist already: they may be running that code, or block SIGSYS")               \
    X(SEALED, "sealed", "the mapping of libc's code is sealed")                                    \
    X(WRITE, "write", "libc's code cannot be changed through /proc/self/mem")                      \
    X(INHERITED, "inherited", "seen: the filter was there already, set by a parent")               \
    X(CHILDREN, "children",                                                                        \
      "the program can start others, which the trap could kill: "                                  \
      "REMAP_TRAP=always sets it all the same")                                                    \
    X(LIBSECCOMP, "libseccomp", "libseccomp.so.2 cannot be loaded")                                \
    X(FILTER, "filter", "the kernel refuses the filter")                                           \
    X(SIGNAL, "signal", "SIGSYS cannot be handled here")                                           \
    X(PROC, "proc", "/proc/self is not there")

/* What the probe asks. */
#define REMAP_FEATURES(X)                                                                          \
    X(RELOCATE, "relocate_anon", "mremap flag 8 merges two faulted neighbours, contents intact")   \
    X(MUST_RELOCATE, "must_relocate_anon", "mremap flag 16 is known")                              \
    X(PLAIN_MERGES, "plain_merges", "a plain move of faulted memory merges by itself")             \
    X(DONTUNMAP, "dontunmap", "mremap flag MREMAP_DONTUNMAP")                                      \
    X(USERFAULTFD, "userfaultfd", "userfaultfd(2), kernel-mode faults included")                   \
    X(USERFAULTFD_USER, "userfaultfd_user", "userfaultfd(2) with UFFD_USER_MODE_ONLY")             \
    X(UFFDIO_MOVE, "uffdio_move", "UFFDIO_MOVE moves pages, contents intact")                      \
    X(PROCMAP_QUERY, "procmap_query", "the PROCMAP_QUERY ioctl of /proc/self/maps")                \
    X(PAGEMAP_SCAN, "pagemap_scan", "the PAGEMAP_SCAN ioctl of /proc/self/pagemap")                \
    X(MULTI_VMA, "multi_vma", "one mremap may move several VMAs")                                  \
    X(UFFDIO_COPY, "uffdio_copy", "UFFDIO_COPY fills pages, contents intact")

/* An answer of the probe. ABSENT carries the errno that said so. */
#define REMAP_ANSWERS(X)                                                                           \
    X(UNKNOWN, "unknown", "not asked")                                                             \
    X(PRESENT, "present", "works as documented")                                                   \
    X(ABSENT, "absent", "the kernel or the container refuses it")                                  \
    X(BROKEN, "broken", "it is there but does not do what it should, or is refused by name")

#define REMAP_ENUM_(id, key, help)    REMAP_OUTCOME_##id,
#define REMAP_ENUM_REASON_(id, k, h)  REMAP_REASON_##id,
#define REMAP_ENUM_STEP_(id, k, h)    REMAP_STEP_##id,
#define REMAP_ENUM_TIER_(id, k, h)    REMAP_TIER_##id,
#define REMAP_ENUM_FEATURE_(id, k, h) REMAP_FEATURE_##id,
#define REMAP_ENUM_ANSWER_(id, k, h)  REMAP_ANSWER_##id,
#define REMAP_ENUM_WAY_(id, k, h)     REMAP_WAY_##id,
#define REMAP_ENUM_WHY_(id, k, h)     REMAP_WHY_##id,
enum remap_outcome { REMAP_OUTCOMES(REMAP_ENUM_) REMAP_OUTCOME_COUNT };
enum remap_reason { REMAP_REASONS(REMAP_ENUM_REASON_) REMAP_REASON_COUNT };
enum remap_step { REMAP_STEPS(REMAP_ENUM_STEP_) REMAP_STEP_COUNT };
enum remap_tier { REMAP_TIERS(REMAP_ENUM_TIER_) REMAP_TIER_COUNT };
enum remap_feature { REMAP_FEATURES(REMAP_ENUM_FEATURE_) REMAP_FEATURE_COUNT };
enum remap_answer { REMAP_ANSWERS(REMAP_ENUM_ANSWER_) REMAP_ANSWER_COUNT };
enum remap_way { REMAP_WAYS(REMAP_ENUM_WAY_) REMAP_WAY_COUNT };
enum remap_why { REMAP_WHYS(REMAP_ENUM_WHY_) REMAP_WHY_COUNT };
#undef REMAP_ENUM_
#undef REMAP_ENUM_REASON_
#undef REMAP_ENUM_STEP_
#undef REMAP_ENUM_TIER_
#undef REMAP_ENUM_FEATURE_
#undef REMAP_ENUM_ANSWER_
#undef REMAP_ENUM_WAY_
#undef REMAP_ENUM_WHY_

/* Room in the file; the enums above may grow into it without a new major version. */
#define REMAP_STATS_OUTCOMES 8u
#define REMAP_STATS_REASONS  32u
#define REMAP_STATS_STEPS    16u
#define REMAP_STATS_TIERS    8u
#define REMAP_STATS_FEATURES 16u
#define REMAP_STATS_WAYS     8u
#define REMAP_STATS_ERRNOS   136u /* index = errno; 135 = anything above */
#define REMAP_STATS_BUCKETS                                                                        \
    40u /* bucket n: a move took 2^n to 2^(n+1)-1 ns; bucket 0: 0 or 1 ns                          \
         */

/* One answer of the probe. */
struct remap_stats_feature {
    uint16_t answer; /* enum remap_answer */
    uint16_t error;  /* errno that said so, 0 if none */
};

/* Identity: written once, before `ready`. Strings are NUL-terminated and may hold any byte. */
struct remap_stats_identity {
    uint32_t pid;        /* as the process sees itself (its innermost pid namespace) */
    uint32_t uid;        /* effective */
    uint64_t start_time; /* field 22 of /proc/PID/stat: clock ticks since boot */
    uint64_t started_ns; /* CLOCK_REALTIME when the file was made */
    uint64_t run_id;     /* of `remapstat run`, 0 elsewhere */
    uint32_t tier;       /* enum remap_tier chosen by the probe */
    uint32_t policy;     /* 0 off, 1 observe, 2 auto, 3 always */
    uint64_t min_bytes;  /* effective REMAP_MIN_BYTES */
    uint64_t max_bytes;  /* effective REMAP_MAX_BYTES */
    char comm[32];       /* name of the executable, shortened */
    char kernel[64];     /* uname -r, shortened */
    char library[32];    /* version of the library */
    struct remap_stats_feature features[REMAP_STATS_FEATURES]; /* by enum remap_feature */
    uint32_t keep; /* 1: REMAP_STATS=keep, cleaners leave the file alone for a day */
    /* since 1.2; 0 before */
    uint32_t sites_offset; /* bytes from the start of the file to struct remap_stats_sites; 0: there
                              are none (REMAP_CALLERS is 0, or libunwind cannot be had) */
};

/*
 * Counters: only ever added to. Calls that cannot move anything (no MAYMOVE, same size, shrinking,
 * growth that found room) are counted in batches: at the next call that could move, every 64 such
 * calls, at exit and in remap_statistics(). An error that such a call returned is counted as
 * FAILED, without its errno.
 */
struct remap_stats_counters {
    uint64_t calls;                          /* mremap() seen: the sum of `outcomes` */
    uint64_t outcomes[REMAP_STATS_OUTCOMES]; /* calls by enum remap_outcome */
    uint64_t reasons[REMAP_STATS_REASONS];   /* calls by enum remap_reason (NONE included) */
    uint64_t moves;                          /* calls after which memory is at a new address */
    uint64_t relocated;                      /* of these, relocated: NATIVE, UFFD and COPY */
    uint64_t merged_left;                    /* relocated ranges seen merged with what ends there */
    uint64_t merged_right;                   /* ... with what begins there */
    uint64_t saved;                          /* see below */
    uint64_t tier_moves[REMAP_STATS_TIERS];  /* moves by enum remap_tier */
    uint64_t tier_bytes[REMAP_STATS_TIERS];  /* address range moved, in bytes */
    uint64_t tier_ns[REMAP_STATS_TIERS];     /* time these took; plain moves are not timed */
    uint64_t pages_moved;                    /* populated base pages moved by UFFDIO_MOVE */
    uint64_t steps[REMAP_STATS_STEPS];       /* failures by enum remap_step */
    uint64_t step_errnos[REMAP_STATS_ERRNOS]; /* failures of engine steps, by errno */
    uint64_t call_errnos[REMAP_STATS_ERRNOS]; /* errno returned to the program */
    uint64_t rescued;                         /* moves whose pages had to be copied to undo them */
    uint64_t histogram[REMAP_STATS_BUCKETS];  /* duration of relocated calls */
    /* since 1.1 */
    uint64_t pages_copied; /* populated base pages moved by copying them */
    uint64_t spans;        /* calls whose range held several VMAs, each moved by itself; such a call
                              counts once, under what became of the best of them */
    uint64_t span_vmas;    /* VMAs moved by these */
};

/* One way by which calls arrive. */
struct remap_stats_way {
    uint16_t seen;     /* 1: calls that arrive so are seen */
    uint16_t why;      /* enum remap_why */
    uint16_t error;    /* errno that said so, 0 if none */
    uint16_t reserved; /* 0 */
    uint64_t calls;    /* a counter; the sum over all ways is counters.calls */
};

/*
 * `saved` is the number of VMAs that went away because of a relocation and would exist with plain
 * mremap(): after each relocation of populated memory the destination is looked up, and each side
 * on which its VMA reaches beyond the moved range counts one (so saved = merged_left +
 * merged_right). It is a count of events: in a program that later unmaps a merged range the VMA
 * would have gone anyway, and a range that is moved twice can count twice. For what exists now
 * compare `vmas` with `runs`, as remapstat shows them.
 */
struct remap_stats {
    char magic[8];
    uint32_t version_major;
    uint32_t version_minor;
    uint32_t size;  /* sizeof(struct remap_stats) of the writer */
    uint32_t ready; /* 1 when everything but the counters has its final value */
    struct remap_stats_identity identity;
    struct remap_stats_counters counters;
    /* since 1.2 */
    struct remap_stats_way ways[REMAP_STATS_WAYS]; /* by enum remap_way */
};

/*
 * Since 1.2, with REMAP_CALLERS: where moves were called from. `frames` are return addresses, the
 * innermost first: the call is the instruction before. (The address of an instruction that a signal
 * interrupted is given plus one, so that the same holds.) What lies in the library itself is left
 * out. A stack that could not be followed to its end has fewer frames than its depth.
 *
 * A slot is taken by setting `key` from 0 (compare and exchange), after which everyone who moves
 * from there counts in it; it may be read once `ready` is 1 (release). Slots are never freed.
 */
#define REMAP_STATS_FRAMES 32u
struct remap_stats_site {
    uint64_t key;       /* a hash of way and frames; 0: free */
    uint64_t moves;     /* the counters of remap_stats_counters, for this site */
    uint64_t relocated; /* ... */
    uint64_t merged;    /* merged_left + merged_right */
    uint64_t bytes;     /* of all tiers */
    uint64_t ns;
    uint32_t ready; /* 1: what is below has its final value */
    uint16_t way;   /* enum remap_way */
    uint16_t depth; /* frames there, 1 to REMAP_STATS_FRAMES */
    uint64_t frames[REMAP_STATS_FRAMES];
};

/* Every move is counted in a site or in `dropped`. The slots follow, `capacity` of them. */
struct remap_stats_sites {
    uint32_t capacity;   /* slots */
    uint32_t entry_size; /* sizeof(struct remap_stats_site) of the writer */
    uint32_t depth;      /* frames asked for */
    uint32_t reserved;   /* 0 */
    uint64_t dropped;    /* moves whose stack could not be read, or found no room here */
};

/* sizeof(struct remap_stats) in version 1.0: no file is smaller. */
#define REMAP_STATS_SIZE_1_0 3480u

#endif
