/* SPDX-License-Identifier: MIT */
/*
 * What the system tests share: cases by name, checks that say what they saw, a plain mremap that
 * the shim cannot see, VMAs counted from /proc, contents compared byte for byte.
 *
 * A test program holds a table of cases; `program CASE` runs one of them in this very process and
 * exits 0 (as expected), 1 (not as expected) or 77 (cannot be told here; the reason is printed).
 */
#ifndef TESTS_LIB_H
#define TESTS_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/types.h>

#include "remap.h"

#define KIB  ((size_t)1024)
#define MIB  (KIB * KIB)
#define GIB  (KIB * MIB)
#define PAGE ((size_t)4096)
#define HUGE ((size_t)2 * MIB)

/* Flags by name that old headers lack, and sums that read well in a call. */
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#define MOVE_TO (MREMAP_MAYMOVE | MREMAP_FIXED)
#define RELOC   MREMAP_RELOCATE_ANON
#define MUST    MREMAP_MUST_RELOCATE_ANON

#define RW     (PROT_READ | PROT_WRITE)
#define SKIP   77
#define FAILED 1

/* ---- cases ---- */

struct test_case {
    const char *name;
    void (*run)(void);
    const char *env; /* "A=b C=d": what the environment must hold, or NULL */
};

/* Runs the case named by argv[1]; "--list" prints all names. argv[2], if any, is in test_variant.
 */
int test_main(int argc, char **argv, const struct test_case *cases, size_t count);
extern const char *test_variant;
extern const char *test_name;

_Noreturn void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Prints why and exits 77. */
_Noreturn void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Undone in test_fail() and test_skip() as well as at the end of a case; one at a time. */
void test_at_end(void (*undo)(void));

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            test_fail(__FILE__, __LINE__, "%s", #condition);                                       \
        }                                                                                          \
    } while (0)
#define CHECK_NUM(left, op, right)                                                                 \
    do {                                                                                           \
        long long left_ = (long long)(left);                                                       \
        long long right_ = (long long)(right);                                                     \
        if (!(left_ op right_)) {                                                                  \
            test_fail(__FILE__, __LINE__, "%s %s %s: %lld and %lld", #left, #op, #right, left_,    \
                      right_);                                                                     \
        }                                                                                          \
    } while (0)
#define CHECK_EQ(left, right) CHECK_NUM(left, ==, right)
#define CHECK_LE(left, right) CHECK_NUM(left, <=, right)
#define CHECK_GE(left, right) CHECK_NUM(left, >=, right)
#define CHECK_PTR(left, right)                                                                     \
    do {                                                                                           \
        const void *left_ = (left);                                                                \
        const void *right_ = (right);                                                              \
        if (left_ != right_) {                                                                     \
            test_fail(__FILE__, __LINE__, "%s == %s: %p and %p", #left, #right, left_, right_);    \
        }                                                                                          \
    } while (0)
/* A call that must succeed, or must fail with one errno. */
#define CHECK_OK(call)                                                                             \
    do {                                                                                           \
        if ((long)(call) == -1) {                                                                  \
            test_fail(__FILE__, __LINE__, "%s", #call);                                            \
        }                                                                                          \
    } while (0)
#define CHECK_ERRNO(call, expected)                                                                \
    do {                                                                                           \
        errno = 0;                                                                                 \
        long result_ = (long)(call);                                                               \
        if (result_ != -1 || errno != (expected)) {                                                \
            test_fail(__FILE__, __LINE__, "%s: %#lx, errno %d, not %s", #call, result_, errno,     \
                      #expected);                                                                  \
        }                                                                                          \
    } while (0)

/*
 * Under emulation of a processor all combinations of a matrix of cases would take hours:
 * REMAP_TEST_THIN=N leaves those that this returns true for out, all but every Nth. `number`: the
 * sum of the indices along its axes, so that each value of each axis remains.
 */
bool test_is_thinned_out(size_t number);

/* ---- mremap, seen by the shim and unseen ---- */

/* Like mremap(), by the raw system call: -errno on failure. */
long raw_mremap(const void *old, size_t old_size, size_t new_size, int flags, const void *to);
long raw_syscall(long number, long a, long b, long c, long d, long e, long f);
/* Through mremap(), or through syscall() when test_variant is "syscall". */
void *shim_mremap(const void *old, size_t old_size, size_t new_size, int flags, const void *to);

/* ---- the shim ---- */

struct remap_stats stats_now(void);       /* fails the test where the library is not loaded */
struct remap_features features_now(void); /* runs the probe */
uint64_t relocated_now(void);
bool can_relocate(void);    /* a tier is there */
bool copies(void);          /* ... and it is the one that copies */
void need_relocation(void); /* skips where no tier is */
bool shim_loaded(void);

/* The smallest stack for a thread that is at least this: PTHREAD_STACK_MIN, 128 KiB on aarch64. */
size_t stack_of(size_t size);

/* ---- memory ---- */

/* A range (2 MiB aligned) that holds nothing but a shared mapping, which merges with nobody. */
char *reserve(size_t size);
/* A fresh private anonymous mapping at a given place, over whatever is there. */
char *map_at(void *at, size_t size, int protection);
/* The same with nothing mergeable around it, at a place of its own. */
char *island(size_t size);
/* An island filled with the pattern of `seed`. */
char *piece(size_t size, unsigned seed);

void fill(void *at, size_t size, unsigned seed);
/* Compares with the pattern of fill(); `skip` is where in the pattern `at` is. */
bool holds(const void *at, size_t size, unsigned seed, size_t skip);
bool holds_zero(const void *at, size_t size);
#define CHECK_HOLDS(at, size, seed)            CHECK(holds(at, size, seed, 0))
#define CHECK_HOLDS_FROM(at, size, seed, skip) CHECK(holds(at, size, seed, skip))

/* ---- /proc ---- */

struct map_line {
    uintptr_t start;
    uintptr_t end;
    char perms[5];
    char name[64];
};
/* Opens /proc/self/maps for this process now (else the first count does). */
void maps_open(void);
size_t vmas_in(const void *start, size_t size); /* VMAs with a byte in the range */
size_t vmas_total(void);
size_t mapped_in(const void *start, size_t size); /* bytes of the range that are mapped */
bool map_of(const void *at, struct map_line *line);
/* Value in KiB of a field ("AnonHugePages") of the VMA at `at`; -1 if there is none. */
long smaps_kib(const void *at, const char *field);
/* "rd wr mr ..." of the VMA at `at`, without the soft-dirty mark. */
void vm_flags(const void *at, char *out, size_t size);
long proc_status_kib(const char *field); /* of /proc/self/status */
size_t count_descriptors(void);          /* open descriptors, but for the one that looks */
long read_number(const char *path);      /* -1 if it cannot be read */
bool write_text(const char *path, const char *text);

/* ---- processes ---- */

/* Forks; the child runs `body` and exits 0. */
pid_t start_child(void (*body)(void *), void *argument);
/* Waits; fails the test unless the child exited 0. */
void join_child(pid_t pid);
/* Waits; the wait status. */
int test_wait(pid_t pid);
void in_child(void (*body)(void *), void *argument);

/* A program with a pipe to its stdin and one from its stdout. */
struct peer {
    pid_t pid;
    int to;
    int from;
};
/* `env` is "A=b C=d"; "A=" unsets. Relative names are looked up beside this program. */
struct peer peer_start(const char *env, const char *program, const char *argument);
/* Sends one line, waits for one line of answer (without its newline), up to `size`. */
void peer_ask(struct peer *peer, const char *command, char *answer, size_t size);
void peer_say(struct peer *peer, const char *command);
/* Closes its stdin and waits for its end; returns the wait status. */
int peer_end(struct peer *peer);
/* A new directory below the test's temporary directory, 0700. */
void temp_dir(char *out, size_t size);
/* Milliseconds of the monotonic clock, for deadlines. */
long long now_ms(void);

#endif
