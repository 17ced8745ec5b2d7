/* SPDX-License-Identifier: MIT */
/*
 * The contract of MREMAP_RELOCATE_ANON (8) and MREMAP_MUST_RELOCATE_ANON (16): arguments, and
 * memory that is private and anonymous in every way. Each case runs once through mremap() and once
 * through syscall(). What is not feasible is in contract_refuse.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA           0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

#define LEN (8 * PAGE)

static const int flags_of[] = {RELOC, MUST, RELOC | MUST};

/* ---- arguments ---- */

static void without_maymove(void)
{
    static const int others[] = {0, MREMAP_FIXED, MREMAP_DONTUNMAP,
                                 MREMAP_FIXED | MREMAP_DONTUNMAP};
    char *src = piece(LEN, 1);
    char *dst = reserve(LEN);
    for (size_t f = 0; f < 3; f++) {
        for (size_t o = 0; o < 4; o++) {
            CHECK_ERRNO(shim_mremap(src, LEN, LEN, flags_of[f] | others[o], dst), EINVAL);
        }
        CHECK_ERRNO(shim_mremap(src, LEN, LEN / 2, flags_of[f], NULL), EINVAL);
    }
    CHECK_EQ(mapped_in(dst, LEN), LEN);
    CHECK_HOLDS(src, LEN, 1);
}

static void bad_arguments(void)
{
    char *src = piece(LEN, 1);
    char *dst = reserve(4 * LEN);
    for (size_t f = 0; f < 3; f++) {
        int flags = flags_of[f];
        CHECK_ERRNO(shim_mremap(src + 1, PAGE, PAGE, MOVE_TO | flags, dst), EINVAL);
        CHECK_ERRNO(shim_mremap(src, LEN, LEN, MOVE_TO | flags, dst + 8), EINVAL);
        CHECK_ERRNO(shim_mremap(src, LEN, 0, MOVE_TO | flags, dst), EINVAL);
        CHECK_ERRNO(shim_mremap(src, LEN, 0, MREMAP_MAYMOVE | flags, NULL), EINVAL);
        CHECK_ERRNO(shim_mremap(src, 0, LEN, MREMAP_MAYMOVE | flags, NULL), EINVAL);
        CHECK_ERRNO(shim_mremap(src, LEN, LEN, MOVE_TO | flags, src + PAGE), EINVAL);
        CHECK_ERRNO(shim_mremap(src, LEN, LEN, MOVE_TO | flags, src - PAGE), EINVAL);
        CHECK_ERRNO(shim_mremap(src, LEN, LEN, MOVE_TO | flags, src), EINVAL);
        CHECK_ERRNO(shim_mremap(src, LEN, 2 * LEN, MOVE_TO | MREMAP_DONTUNMAP | flags, dst),
                    EINVAL);
        CHECK_ERRNO(shim_mremap(src, LEN, LEN / 2, MOVE_TO | MREMAP_DONTUNMAP | flags, dst),
                    EINVAL);
        CHECK_ERRNO(shim_mremap(src, LEN, 2 * LEN, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | flags, NULL),
                    EINVAL);
        CHECK_ERRNO(shim_mremap(src, LEN, LEN, MOVE_TO | flags | 32, dst), EINVAL);
        CHECK_HOLDS(src, LEN, 1);
    }
    CHECK_EQ(mapped_in(dst, 4 * LEN), 4 * LEN);
    for (size_t f = 0; f < 3; f++) { /* kernels before 6.17 have unmapped the destination by then */
        CHECK_ERRNO(shim_mremap(src, 0, LEN, MOVE_TO | flags_of[f], dst), EINVAL);
        CHECK_HOLDS(src, LEN, 1);
    }
}

static void source_not_mapped(void)
{
    char *src = reserve(LEN);
    char *dst = reserve(LEN);
    CHECK_OK(munmap(src, LEN));
    for (size_t f = 0; f < 3; f++) {
        CHECK_ERRNO(shim_mremap(src, LEN, LEN, MREMAP_MAYMOVE | flags_of[f], NULL), EFAULT);
        CHECK_ERRNO(shim_mremap(src, LEN, LEN, MOVE_TO | flags_of[f], dst), EFAULT);
    }
}

/* A length that is not a multiple of the page size is rounded up, as ever. */
static void length_is_rounded(void)
{
    need_relocation();
    char *area = reserve(2 * LEN);
    for (unsigned f = 0; f < 3; f++) {
        char *src = piece(LEN, f);
        CHECK_PTR(shim_mremap(src, LEN - 100, LEN - 5, MOVE_TO | flags_of[f], area), area);
        CHECK_HOLDS(area, LEN, f);
        CHECK_EQ(mapped_in(src, LEN), 0);
    }
}

/* ---- no move needed ---- */

static void same_size(void)
{
    for (unsigned f = 0; f < 3; f++) {
        char *src = piece(LEN, f);
        CHECK_PTR(shim_mremap(src, LEN, LEN, MREMAP_MAYMOVE | flags_of[f], NULL), src);
        CHECK_HOLDS(src, LEN, f);
    }
}

static void shrink(void)
{
    for (unsigned f = 0; f < 3; f++) {
        char *src = piece(LEN, f);
        CHECK_PTR(shim_mremap(src, LEN, LEN / 2, MREMAP_MAYMOVE | flags_of[f], NULL), src);
        CHECK_HOLDS(src, LEN / 2, f);
        CHECK_EQ(mapped_in(src, LEN), LEN / 2);
    }
}

static void growth_in_place(void)
{
    for (unsigned f = 0; f < 3; f++) {
        char *src = piece(LEN, f);
        CHECK_OK(munmap(src + LEN, LEN));
        CHECK_PTR(shim_mremap(src, LEN, 2 * LEN, MREMAP_MAYMOVE | flags_of[f], NULL), src);
        CHECK_HOLDS(src, LEN, f);
        CHECK(holds_zero(src + LEN, LEN));
        CHECK_EQ(vmas_in(src, 2 * LEN), 1);
    }
}

/* Also mappings that could never be relocated. */
static void no_move_of_a_file(void)
{
    int fd = memfd_create("contract", 0);
    CHECK_OK(ftruncate(fd, (off_t)(2 * LEN)));
    for (unsigned f = 0; f < 3; f++) {
        char *src = reserve(4 * LEN);
        CHECK_PTR(mmap(src, LEN, RW, MAP_SHARED | MAP_FIXED, fd, 0), src);
        CHECK_OK(munmap(src + LEN, LEN));
        CHECK_PTR(shim_mremap(src, LEN, LEN, MREMAP_MAYMOVE | flags_of[f], NULL), src);
        CHECK_PTR(shim_mremap(src, LEN, 2 * LEN, MREMAP_MAYMOVE | flags_of[f], NULL), src);
        fill(src, 2 * LEN, f);
        CHECK_PTR(shim_mremap(src, 2 * LEN, LEN, MREMAP_MAYMOVE | flags_of[f], NULL), src);
        CHECK_HOLDS(src, LEN, f);
    }
}

/* ---- what merges ---- */

static void unfaulted(void)
{
    char *area = reserve(4 * LEN);
    map_at(area, LEN, RW);
    fill(area, LEN, 9);
    for (unsigned f = 0; f < 3; f++) {
        char *src = island(LEN);
        char *dst = area + LEN * (f + 1);
        CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO | flags_of[f], dst), dst);
        CHECK_EQ(mapped_in(src, LEN), 0);
        CHECK_EQ(vmas_in(area, LEN * (f + 2)), 1);
    }
    CHECK_HOLDS(area, LEN, 9);
    CHECK(holds_zero(area + LEN, 3 * LEN));
}

static void zero_page_only(void)
{
    need_relocation(); /* without PAGEMAP_SCAN the zero page cannot be told from others */
    char *area = reserve(4 * LEN);
    map_at(area, LEN, RW);
    fill(area, LEN, 9);
    for (unsigned f = 0; f < 3; f++) {
        char *src = island(LEN);
        CHECK(holds_zero(src, LEN));
        char *dst = area + LEN * (f + 1);
        CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO | flags_of[f], dst), dst);
        CHECK_EQ(vmas_in(area, LEN * (f + 2)), 1);
        CHECK(holds_zero(dst, LEN));
    }
    CHECK_HOLDS(area, LEN, 9);
}

/* Moved back to where it was first faulted, a mapping merges by itself. */
static void ordinary_merge(void)
{
    need_relocation(); /* without a tier 16 is refused: nobody can tell that it would do */
    char *area = map_at(reserve(2 * LEN), 2 * LEN, RW);
    fill(area, 2 * LEN, 1);
    char *away = reserve(LEN);
    for (size_t f = 0; f < 3; f++) {
        CHECK_EQ(raw_mremap(area + LEN, LEN, LEN, MOVE_TO, away), (long)away);
        CHECK_PTR(shim_mremap(away, LEN, LEN, MOVE_TO | flags_of[f], area + LEN), area + LEN);
        CHECK_EQ(vmas_in(area, 2 * LEN), 1);
        CHECK_HOLDS(area, 2 * LEN, 1);
    }
}

/* Moves faulted pieces next to each other; each must have merged at once. */
static void row_of(char *(*make)(unsigned seed), void (*check)(const char *at, unsigned seed))
{
    need_relocation();
    char *area = reserve(5 * LEN);
    uint64_t before = relocated_now();
    for (unsigned f = 0; f < 3; f++) {
        char *src = make(f);
        char *dst = area + LEN * f;
        CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO | flags_of[f], dst), dst);
        CHECK_EQ(mapped_in(src, LEN), 0);
        CHECK_EQ(vmas_in(area, LEN * (f + 1)), 1);
    }
    CHECK_EQ(relocated_now() - before, 3);
    for (unsigned f = 0; f < 3; f++) {
        check(area + LEN * f, f);
    }
}

static void check_filled(const char *at, unsigned seed)
{
    CHECK_HOLDS(at, LEN, seed);
}

static char *make_private(unsigned seed)
{
    return piece(LEN, seed);
}

static void private_anonymous(void)
{
    row_of(make_private, check_filled);
}

/* All from one open file: mappings of different ones never merge. */
static char *make_dev_zero(unsigned seed)
{
    static int fd = -1;
    if (fd < 0) {
        fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
    }
    CHECK_OK(fd);
    char *at = island(LEN);
    CHECK_PTR(mmap(at, LEN, RW, MAP_PRIVATE | MAP_FIXED, fd, 0), at);
    fill(at, LEN, seed);
    return at;
}

static void dev_zero(void)
{
    if (copies()) { /* UFFDIO_COPY does not fill such mappings: plain, contents intact */
        char *dst = reserve(LEN);
        CHECK_PTR(shim_mremap(make_dev_zero(1), LEN, LEN, MOVE_TO, dst), dst);
        CHECK_HOLDS(dst, LEN, 1);
        return;
    }
    row_of(make_dev_zero, check_filled);
}

static char *make_none(unsigned seed)
{
    char *at = piece(LEN, seed);
    CHECK_OK(mprotect(at, LEN, PROT_NONE));
    return at;
}

static void check_none(const char *at, unsigned seed)
{
    struct map_line line;
    CHECK(map_of(at, &line));
    CHECK(memcmp(line.perms, "---p", 5) == 0);
    CHECK_OK(mprotect((char *)(uintptr_t)at, LEN, PROT_READ));
    CHECK_HOLDS(at, LEN, seed);
}

static void protection_none(void)
{
    row_of(make_none, check_none);
}

static char *make_read_only(unsigned seed)
{
    char *at = piece(LEN, seed);
    CHECK_OK(mprotect(at, LEN, PROT_READ));
    return at;
}

static void check_read_only(const char *at, unsigned seed)
{
    struct map_line line;
    CHECK(map_of(at, &line));
    CHECK(memcmp(line.perms, "r--p", 5) == 0);
    CHECK_HOLDS(at, LEN, seed);
}

static void read_only(void)
{
    row_of(make_read_only, check_read_only);
}

static char *make_locked(unsigned seed)
{
    char *at = piece(LEN, seed);
    if (mlock(at, LEN) != 0) {
        test_skip("mlock: %s", strerror(errno));
    }
    return at;
}

static void check_locked(const char *at, unsigned seed)
{
    CHECK(smaps_kib(at, "Locked") > 0);
    CHECK_HOLDS(at, LEN, seed);
}

static void locked(void)
{
    row_of(make_locked, check_locked);
}

static char *make_noreserve(unsigned seed)
{
    char *at = island(LEN);
    CHECK_PTR(mmap(at, LEN, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0),
              at);
    fill(at, LEN, seed);
    return at;
}

static void noreserve(void)
{
    row_of(make_noreserve, check_filled);
}

static char *make_named(unsigned seed)
{
    char *at = piece(LEN, seed);
    if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, LEN, "contract") != 0) {
        test_skip("no names for anonymous memory (CONFIG_ANON_VMA_NAME): %s", strerror(errno));
    }
    return at;
}

static void check_named(const char *at, unsigned seed)
{
    struct map_line line;
    CHECK(map_of(at, &line));
    CHECK(strcmp(line.name, "[anon:contract]") == 0);
    CHECK_HOLDS(at, LEN, seed);
}

static void named(void)
{
    row_of(make_named, check_named);
}

#define POLICY_BIND 2 /* MPOL_BIND */

static char *make_policy(unsigned seed)
{
    unsigned long node = 1;
    char *at = island(LEN);
    if (syscall(SYS_mbind, at, LEN, POLICY_BIND, &node, sizeof(node) * 8, 0) != 0) {
        test_skip("mbind: %s", strerror(errno));
    }
    fill(at, LEN, seed);
    return at;
}

static void check_policy(const char *at, unsigned seed)
{
    int mode = -1;
    CHECK_OK(syscall(SYS_get_mempolicy, &mode, NULL, 0, at, 2 /* MPOL_F_ADDR */));
    CHECK_EQ(mode, POLICY_BIND);
    CHECK_HOLDS(at, LEN, seed);
}

static void memory_policy(void)
{
    row_of(make_policy, check_policy);
}

/* ---- with whom it merges ---- */

static void later_neighbours(void)
{
    need_relocation();
    char *area = reserve(4 * LEN);
    char *middle = area + LEN;
    char *src = piece(LEN, 1);
    CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO | MUST, middle), middle);
    map_at(area, LEN, RW);
    CHECK_EQ(vmas_in(area, 2 * LEN), 1);
    map_at(area + 2 * LEN, LEN, RW);
    CHECK_EQ(vmas_in(area, 3 * LEN), 1);
    src = piece(LEN, 2);
    CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO | RELOC, area + 3 * LEN), area + 3 * LEN);
    CHECK_EQ(vmas_in(area, 4 * LEN), 1);
    CHECK_HOLDS(middle, LEN, 1);
    CHECK_HOLDS(area + 3 * LEN, LEN, 2);
}

static void between_equals(void)
{
    need_relocation();
    for (unsigned f = 0; f < 3; f++) {
        char *area = map_at(reserve(3 * LEN), 3 * LEN, RW);
        fill(area, 3 * LEN, 7);
        CHECK_OK(munmap(area + LEN, LEN));
        char *src = piece(LEN, f);
        CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO | flags_of[f], area + LEN), area + LEN);
        CHECK_EQ(vmas_in(area, 3 * LEN), 1);
        CHECK_HOLDS(area, LEN, 7);
        CHECK_HOLDS(area + LEN, LEN, f);
        CHECK_HOLDS_FROM(area + 2 * LEN, LEN, 7, 2 * LEN);
    }
}

static void between_strangers(void)
{
    need_relocation();
    for (unsigned f = 0; f < 3; f++) {
        char *area = reserve(3 * LEN);
        fill(map_at(area, LEN, RW), LEN, 5);
        fill(map_at(area + 2 * LEN, LEN, RW), LEN, 6);
        char *src = piece(LEN, f);
        CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO | flags_of[f], area + LEN), area + LEN);
        CHECK_EQ(vmas_in(area, 3 * LEN), 2);
        CHECK_HOLDS(area, LEN, 5);
        CHECK_HOLDS(area + LEN, LEN, f);
        CHECK_HOLDS(area + 2 * LEN, LEN, 6);
    }
}

static void compact_single_pages(void)
{
    enum { COUNT = 30 };
    need_relocation();
    for (unsigned f = 0; f < 3; f++) {
        char *area = reserve(COUNT * PAGE);
        char *scattered = map_at(reserve(2 * COUNT * PAGE), 2 * COUNT * PAGE, RW);
        for (unsigned i = 0; i < COUNT; i++) {
            fill(scattered + 2 * i * PAGE, PAGE, i);
            CHECK_OK(munmap(scattered + (2 * i + 1) * PAGE, PAGE));
        }
        for (unsigned i = 0; i < COUNT; i++) {
            char *to = area + i * PAGE;
            CHECK_PTR(shim_mremap(scattered + 2 * i * PAGE, PAGE, PAGE, MOVE_TO | flags_of[f], to),
                      to);
        }
        CHECK_LE(vmas_in(area, COUNT * PAGE), 2);
        for (unsigned i = 0; i < COUNT; i++) {
            CHECK_HOLDS(area + i * PAGE, PAGE, i);
        }
    }
}

static void merges_after_mprotect(void)
{
    need_relocation();
    for (unsigned f = 0; f < 3; f++) {
        char *area = map_at(reserve(2 * LEN), LEN, RW);
        fill(area, LEN, 8);
        char *src = make_read_only(f);
        CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO | flags_of[f], area + LEN), area + LEN);
        CHECK_EQ(vmas_in(area, 2 * LEN), 2);
        CHECK_OK(mprotect(area + LEN, LEN, RW));
        CHECK_EQ(vmas_in(area, 2 * LEN), 1);
        CHECK_HOLDS(area, LEN, 8);
        CHECK_HOLDS(area + LEN, LEN, f);
    }
}

/* The other way round: a writable piece beside memory that is read-only for now. */
static void merges_after_their_mprotect(void)
{
    need_relocation();
    for (unsigned f = 0; f < 3; f++) {
        char *area = map_at(reserve(2 * LEN), LEN, RW);
        fill(area, LEN, 8);
        CHECK_OK(mprotect(area, LEN, PROT_READ));
        char *src = piece(LEN, f);
        CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO | flags_of[f], area + LEN), area + LEN);
        CHECK_EQ(vmas_in(area, 2 * LEN), 2);
        CHECK_OK(mprotect(area, LEN, RW));
        CHECK_EQ(vmas_in(area, 2 * LEN), 1);
        CHECK_HOLDS(area, LEN, 8);
        CHECK_HOLDS(area + LEN, LEN, f);
    }
}

static void dontunmap(void)
{
    need_relocation();
    for (unsigned f = 0; f < 3; f++) {
        char *area = map_at(reserve(2 * LEN), LEN, RW);
        fill(area, LEN, 8);
        char *src = piece(LEN, f);
        int flags = MOVE_TO | MREMAP_DONTUNMAP | flags_of[f];
        CHECK_PTR(shim_mremap(src, LEN, LEN, flags, area + LEN), area + LEN);
        CHECK_EQ(vmas_in(area, 2 * LEN), 1);
        CHECK_HOLDS(area, LEN, 8);
        CHECK_HOLDS(area + LEN, LEN, f);
        CHECK_EQ(mapped_in(src, LEN), LEN);
        CHECK(holds_zero(src, LEN));
        fill(src, LEN, 77);
        CHECK_HOLDS(area + LEN, LEN, f);
    }
}

/* Without FIXED the kernel chooses; DONTUNMAP always moves. */
static void dontunmap_anywhere(void)
{
    need_relocation();
    for (unsigned f = 0; f < 3; f++) {
        char *src = piece(LEN, f);
        char *dst =
            shim_mremap(src, LEN, LEN, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | flags_of[f], NULL);
        CHECK(dst != MAP_FAILED && dst != src);
        CHECK_HOLDS(dst, LEN, f);
        CHECK(holds_zero(src, LEN));
    }
}

static void growth_that_moves(void)
{
    need_relocation();
    for (unsigned f = 0; f < 3; f++) {
        char *src = piece(LEN, f);
        char *dst = shim_mremap(src, LEN, 3 * LEN, MREMAP_MAYMOVE | flags_of[f], NULL);
        CHECK(dst != MAP_FAILED && dst != src);
        CHECK_EQ(mapped_in(src, LEN), 0);
        CHECK_HOLDS(dst, LEN, f);
        CHECK(holds_zero(dst + LEN, 2 * LEN));
        CHECK_EQ(vmas_in(dst, 3 * LEN), 1);
    }
}

static const struct test_case cases[] = {
    {"without_maymove", without_maymove, NULL},
    {"bad_arguments", bad_arguments, NULL},
    {"source_not_mapped", source_not_mapped, NULL},
    {"length_is_rounded", length_is_rounded, NULL},
    {"same_size", same_size, NULL},
    {"shrink", shrink, NULL},
    {"growth_in_place", growth_in_place, NULL},
    {"no_move_of_a_file", no_move_of_a_file, NULL},
    {"unfaulted", unfaulted, NULL},
    {"zero_page_only", zero_page_only, NULL},
    {"ordinary_merge", ordinary_merge, NULL},
    {"private_anonymous", private_anonymous, NULL},
    {"dev_zero", dev_zero, NULL},
    {"protection_none", protection_none, NULL},
    {"read_only", read_only, NULL},
    {"locked", locked, NULL},
    {"noreserve", noreserve, NULL},
    {"named", named, NULL},
    {"memory_policy", memory_policy, NULL},
    {"later_neighbours", later_neighbours, NULL},
    {"between_equals", between_equals, NULL},
    {"between_strangers", between_strangers, NULL},
    {"compact_single_pages", compact_single_pages, NULL},
    {"merges_after_mprotect", merges_after_mprotect, NULL},
    {"merges_after_their_mprotect", merges_after_their_mprotect, NULL},
    {"dontunmap", dontunmap, NULL},
    {"dontunmap_anywhere", dontunmap_anywhere, NULL},
    {"growth_that_moves", growth_that_moves, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
