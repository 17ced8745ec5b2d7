/* SPDX-License-Identifier: MIT */
/*
 * A mapping takes its attributes along: after a move under the shim the destination has the VmFlags
 * (and the memory policy and name) that a plain move gives to its twin.
 */
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA           0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

#define LEN (16 * PAGE)

typedef void setter(char *at);

enum way { WHOLE, PART, GROWN, KEPT, WAYS };

/* Moves `at` in one of the ways, plainly or under the shim. */
static char *move(char *at, enum way way, bool shimmed, char *dst)
{
    char *from = way == PART ? at + LEN / 4 : at;
    size_t old_size = way == PART ? LEN / 2 : LEN;
    size_t new_size = way == GROWN ? 2 * LEN : old_size;
    int flags = MOVE_TO | (way == KEPT ? MREMAP_DONTUNMAP : 0);
    if (shimmed) {
        CHECK_PTR(mremap(from, old_size, new_size, flags, dst), dst);
    } else {
        CHECK_EQ(raw_mremap(from, old_size, new_size, flags, dst), (long)dst);
    }
    return dst;
}

static void compare(const char *plain, const char *shimmed, bool mapped)
{
    char want[256];
    char got[256];
    struct map_line a;
    struct map_line b;
    CHECK_EQ(map_of(plain, &a), mapped);
    CHECK_EQ(map_of(shimmed, &b), mapped);
    if (!mapped) {
        return;
    }
    vm_flags(plain, want, sizeof(want));
    vm_flags(shimmed, got, sizeof(got));
    if (strcmp(want, got) != 0 || strcmp(a.perms, b.perms) != 0 || strcmp(a.name, b.name) != 0) {
        test_fail(__FILE__, __LINE__, "plain: %s %s '%s'; shimmed: %s %s '%s'", a.perms, want,
                  a.name, b.perms, got, b.name);
    }
    int want_mode = -1;
    int got_mode = -1;
    unsigned long want_nodes[16] = {0};
    unsigned long got_nodes[16] = {0};
    long ask = syscall(SYS_get_mempolicy, &want_mode, want_nodes, 1024, plain, 2);
    CHECK_EQ(syscall(SYS_get_mempolicy, &got_mode, got_nodes, 1024, shimmed, 2), ask);
    CHECK_EQ(got_mode, want_mode);
    CHECK(memcmp(want_nodes, got_nodes, sizeof(want_nodes)) == 0);
}

static void check_contents(char *dst, enum way way)
{
    if (mprotect(dst, way == PART ? LEN / 2 : LEN, PROT_READ) == 0) {
        CHECK_HOLDS_FROM(dst, way == PART ? LEN / 2 : LEN, 1, way == PART ? LEN / 4 : 0);
    }
}

static void attribute(setter *set)
{
    for (enum way way = WHOLE; way < WAYS; way++) {
        char *src[2];
        char *dst[2];
        for (unsigned shimmed = 0; shimmed < 2; shimmed++) {
            char *at = src[shimmed] = piece(LEN, 1);
            set(at);
            dst[shimmed] = reserve(2 * LEN);
            move(at, way, shimmed == 1, dst[shimmed]);
        }
        compare(dst[0], dst[1], true);
        compare(src[0], src[1], way == KEPT || way == PART);
        CHECK_EQ(vmas_in(dst[0], LEN), vmas_in(dst[1], LEN));
        check_contents(dst[0], way);
        check_contents(dst[1], way);
    }
}

static void advise(char *at, int advice, const char *name)
{
    if (madvise(at, LEN, advice) != 0) {
        test_skip("madvise(%s): %s", name, strerror(errno));
    }
}

#define ADVICE(name, advice)                                                                       \
    static void set_##name(char *at)                                                               \
    {                                                                                              \
        advise(at, advice, #advice);                                                               \
    }                                                                                              \
    static void name(void)                                                                         \
    {                                                                                              \
        attribute(set_##name);                                                                     \
    }

ADVICE(hugepage, MADV_HUGEPAGE)
ADVICE(nohugepage, MADV_NOHUGEPAGE)
ADVICE(mergeable, MADV_MERGEABLE)
ADVICE(dontfork, MADV_DONTFORK)
ADVICE(dontdump, MADV_DONTDUMP)
ADVICE(wipeonfork, MADV_WIPEONFORK)
ADVICE(sequential, MADV_SEQUENTIAL)
ADVICE(random_access, MADV_RANDOM)

#define PROTECTION(name, protection)                                                               \
    static void set_##name(char *at)                                                               \
    {                                                                                              \
        CHECK_OK(mprotect(at, LEN, protection));                                                   \
    }                                                                                              \
    static void name(void)                                                                         \
    {                                                                                              \
        attribute(set_##name);                                                                     \
    }

PROTECTION(prot_none, PROT_NONE)
PROTECTION(prot_read, PROT_READ)
PROTECTION(prot_write, PROT_WRITE)
PROTECTION(prot_exec, PROT_EXEC)
PROTECTION(prot_read_exec, PROT_READ | PROT_EXEC)
PROTECTION(prot_all, PROT_READ | PROT_WRITE | PROT_EXEC)

static void set_locked(char *at)
{
    if (mlock(at, LEN) != 0) {
        test_skip("mlock: %s", strerror(errno));
    }
}

static void locked(void)
{
    attribute(set_locked);
}

static void set_locked_onfault(char *at)
{
    if (syscall(SYS_mlock2, at, LEN, MLOCK_ONFAULT) != 0) {
        test_skip("mlock2: %s", strerror(errno));
    }
}

static void locked_onfault(void)
{
    attribute(set_locked_onfault);
}

static void set_locked_read_only(char *at)
{
    set_locked(at);
    CHECK_OK(mprotect(at, LEN, PROT_READ));
}

static void locked_read_only(void)
{
    attribute(set_locked_read_only);
}

static void bind_to(char *at, int mode)
{
    unsigned long node = 1;
    if (syscall(SYS_mbind, at, LEN, mode, &node, sizeof(node) * 8, 0) != 0) {
        test_skip("mbind: %s", strerror(errno));
    }
}

static void set_bind(char *at)
{
    bind_to(at, 2 /* MPOL_BIND */);
}

static void policy_bind(void)
{
    attribute(set_bind);
}

static void set_interleave(char *at)
{
    bind_to(at, 3 /* MPOL_INTERLEAVE */);
}

static void policy_interleave(void)
{
    attribute(set_interleave);
}

static void set_name(char *at)
{
    if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, LEN, "attributes") != 0) {
        test_skip("no names for anonymous memory (CONFIG_ANON_VMA_NAME): %s", strerror(errno));
    }
}

static void named(void)
{
    attribute(set_name);
}

static void set_nothing(char *at)
{
    (void)at;
}

static void ordinary(void)
{
    attribute(set_nothing);
}

static void set_many(char *at)
{
    advise(at, MADV_DONTDUMP, "MADV_DONTDUMP");
    advise(at, MADV_DONTFORK, "MADV_DONTFORK");
    advise(at, MADV_RANDOM, "MADV_RANDOM");
    advise(at, MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE");
    set_bind(at);
    CHECK_OK(mprotect(at, LEN, PROT_READ));
}

static void many(void)
{
    attribute(set_many);
}

/* All of it again where the whole process locks what it maps: mlockall(MCL_FUTURE). */
static void mlockall_future(void)
{
    if (mlockall(MCL_FUTURE) != 0) {
        test_skip("mlockall: %s", strerror(errno));
    }
    attribute(set_nothing);
}

static const struct test_case cases[] = {
    {"ordinary", ordinary, NULL},
    {"hugepage", hugepage, NULL},
    {"nohugepage", nohugepage, NULL},
    {"mergeable", mergeable, NULL},
    {"dontfork", dontfork, NULL},
    {"dontdump", dontdump, NULL},
    {"wipeonfork", wipeonfork, NULL},
    {"sequential", sequential, NULL},
    {"random_access", random_access, NULL},
    {"prot_none", prot_none, NULL},
    {"prot_read", prot_read, NULL},
    {"prot_write", prot_write, NULL},
    {"prot_exec", prot_exec, NULL},
    {"prot_read_exec", prot_read_exec, NULL},
    {"prot_all", prot_all, NULL},
    {"locked", locked, NULL},
    {"locked_onfault", locked_onfault, NULL},
    {"locked_read_only", locked_read_only, NULL},
    {"policy_bind", policy_bind, NULL},
    {"policy_interleave", policy_interleave, NULL},
    {"named", named, NULL},
    {"many", many, NULL},
    {"mlockall_future", mlockall_future, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
