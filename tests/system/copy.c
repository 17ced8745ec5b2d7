/* SPDX-License-Identifier: MIT */
/*
 * The tier `copy`: what relocates where the kernel has no UFFDIO_MOVE, tested wherever there is a
 * userfaultfd. Most of what it must do are the cases of the other programs, which run with it too
 * (suites copy-*); here is what is its own: which pages it copies and which not, and when it is
 * used. Other threads, children and memory are in copy_around.c, failures in copy_faults.c.
 */
#include <errno.h>
#include <string.h>

#include "copying.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#define ADVICE_COLLAPSE 25 /* MADV_COLLAPSE, Linux 6.1 */

#define LEN (100 * PAGE) /* more than one chunk of 256 KiB, and not a multiple */

/* ---- kinds of moves ---- */

static void fixed(void)
{
    static const size_t sizes[] = {PAGE, 2 * PAGE, 63 * PAGE, 64 * PAGE, 65 * PAGE, LEN, 9 * MIB};
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *src = island(sizes[i]);
        madvise(src, sizes[i], MADV_NOHUGEPAGE); /* huge pages are another case */
        fill(src, sizes[i], i);
        char *dst = reserve(sizes[i]);
        begin_move();
        CHECK_PTR(mremap(src, sizes[i], sizes[i], MOVE_TO, dst), dst);
        check_copied(sizes[i] / PAGE);
        CHECK_HOLDS(dst, sizes[i], i);
        CHECK_EQ(mapped_in(src, sizes[i]), 0);
        CHECK_EQ(vmas_in(dst, sizes[i]), 1);
    }
}

static void grown(void)
{
    char *dst = move_and_merge(piece(LEN, 1), LEN, 3 * LEN, 0, LEN / PAGE);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK(holds_zero(dst + LEN, 2 * LEN));
}

static void shrunk(void)
{
    char *dst = move_and_merge(piece(LEN, 1), LEN, LEN / 4, 0, LEN / 4 / PAGE);
    CHECK_HOLDS(dst, LEN / 4, 1);
    CHECK_EQ(vmas_in(dst, LEN / 4 + PAGE), 2); /* the reservation goes on behind it */
}

static void chosen_by_the_kernel(void)
{
    char *src = piece(LEN, 1);
    begin_move();
    char *dst = mremap(src, LEN, 2 * LEN, MREMAP_MAYMOVE);
    CHECK(dst != MAP_FAILED && dst != src);
    check_copied(LEN / PAGE);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK(holds_zero(dst + LEN, LEN));
    CHECK_EQ(mapped_in(src, LEN), 0);
}

static void dontunmap(void)
{
    char *src = piece(LEN, 1);
    char *dst = move_and_merge(src, LEN, LEN, MREMAP_DONTUNMAP, LEN / PAGE);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK(holds_zero(src, LEN));
    fill(src, LEN, 2);
    CHECK_HOLDS(src, LEN, 2);
    CHECK_HOLDS(dst, LEN, 1);
}

static void part_of_a_vma(void)
{
    for (unsigned part = 0; part < 3; part++) {
        char *src = piece(3 * LEN, 1);
        char *dst = move_and_merge(src + part * LEN, LEN, LEN, 0, LEN / PAGE);
        CHECK_HOLDS_FROM(dst, LEN, 1, part * LEN);
        for (unsigned other = 0; other < 3; other++) {
            if (other != part) {
                CHECK_HOLDS_FROM(src + other * LEN, LEN, 1, other * LEN);
            }
        }
    }
}

static void demanded(void)
{
    char *dst = move_and_merge(piece(LEN, 1), LEN, LEN, MUST, LEN / PAGE);
    CHECK_HOLDS(dst, LEN, 1);
    dst = move_and_merge(piece(LEN, 2), LEN, LEN, RELOC, LEN / PAGE);
    CHECK_HOLDS(dst, LEN, 2);
}

/* ---- protections and locks ---- */

/* Moved with this protection; merges with a neighbour of the same. */
static void protected_as(int protection, const char *perms)
{
    struct map_line line;
    char *src = piece(LEN, 1);
    char *dst = beside(LEN);
    CHECK_OK(mprotect(src, LEN, protection));
    CHECK_OK(mprotect(dst - PAGE, PAGE, protection));
    begin_move();
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    check_copied(LEN / PAGE);
    CHECK(map_of(dst, &line) && strcmp(line.perms, perms) == 0);
    CHECK_EQ(vmas_in(dst - PAGE, LEN + PAGE), 1);
    CHECK_OK(mprotect(dst - PAGE, LEN + PAGE, RW));
    CHECK_EQ(vmas_in(dst - PAGE, LEN + PAGE), 1);
    CHECK_HOLDS(dst - PAGE, PAGE, 99);
    CHECK_HOLDS(dst, LEN, 1);
}

static void read_only(void)
{
    protected_as(PROT_READ, "r--p");
}

static void no_access(void)
{
    protected_as(PROT_NONE, "---p");
}

static void executable(void)
{
    protected_as(PROT_READ | PROT_EXEC, "r-xp");
    protected_as(PROT_READ | PROT_WRITE | PROT_EXEC, "rwxp");
    protected_as(PROT_EXEC, "--xp");
}

static void locked_as(unsigned how)
{
    char flags[256];
    char want[256];
    char *src = piece(LEN, 1);
    if (mlock2(src, LEN, how) != 0) {
        test_skip("mlock2: %s", strerror(errno));
    }
    vm_flags(src, want, sizeof(want));
    long locked = proc_status_kib("VmLck");
    char *dst = reserve(LEN);
    begin_move();
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    check_copied(LEN / PAGE);
    CHECK_HOLDS(dst, LEN, 1);
    vm_flags(dst, flags, sizeof(flags));
    CHECK(strstr(flags, "lo ") != NULL);
    CHECK(strcmp(flags, want) == 0); /* "lf " too, where the kernel shows it */
    CHECK_EQ(smaps_kib(dst, "Rss"), LEN / KIB);
    CHECK_EQ(proc_status_kib("VmLck"), locked);
    CHECK_EQ(vmas_in(dst, LEN), 1);
}

static void locked(void)
{
    locked_as(0);
}

static void locked_on_fault(void)
{
    locked_as(MLOCK_ONFAULT);
}

/* ---- holes and kinds of pages ---- */

static void sparse_by(size_t size, size_t stride)
{
    char *src = island(size);
    size_t populated = 0;
    CHECK_OK(madvise(src, size, MADV_NOHUGEPAGE));
    for (size_t at = 0; at < size; at += stride) {
        fill(src + at, PAGE, (unsigned)(at / PAGE));
        populated++;
    }
    char *dst = reserve(size);
    begin_move();
    CHECK_PTR(mremap(src, size, size, MOVE_TO, dst), dst);
    check_copied(populated);
    CHECK_EQ(smaps_kib(dst, "Rss"), populated * PAGE / KIB);
    for (size_t at = 0; at < size; at += stride) {
        CHECK_HOLDS(dst + at, PAGE, (unsigned)(at / PAGE));
        if (stride > PAGE && at + PAGE < size) {
            CHECK(holds_zero(dst + at + PAGE, PAGE)); /* and nobody waits there */
        }
    }
}

static void sparse(void)
{
    sparse_by(3000 * PAGE, 3 * PAGE);
    sparse_by(64 * MIB, 5 * MIB);
    sparse_by(GIB, 300 * MIB);
    sparse_by(LEN, LEN);
}

/* Pages that were only read are as good as holes; among others, and alone. */
static void zero_page_only(void)
{
    char *src = piece(LEN, 1);
    CHECK_OK(madvise(src + 10 * PAGE, 20 * PAGE, MADV_DONTNEED));
    CHECK(holds_zero(src + 10 * PAGE, 20 * PAGE));
    char *dst = move_and_merge(src, LEN, LEN, 0, LEN / PAGE - 20);
    CHECK_HOLDS(dst, 10 * PAGE, 1);
    CHECK(holds_zero(dst + 10 * PAGE, 20 * PAGE));
    CHECK_HOLDS_FROM(dst + 30 * PAGE, LEN - 30 * PAGE, 1, 30 * PAGE);

    src = island(LEN);
    CHECK(holds_zero(src, LEN));
    dst = beside(LEN);
    begin_move();
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    CHECK(holds_zero(dst, LEN));
    CHECK_EQ(ADDED(pages_copied), 0);
    CHECK_EQ(vmas_in(dst - PAGE, LEN + PAGE), 1);
}

static void huge_pages(void)
{
    static const size_t shifts[] = {0, 0, 3 * PAGE}; /* of the destination, modulo 2 MiB */
    enum { BLOCKS = 4 };
    const size_t size = BLOCKS * HUGE;
    char *probe = map_at(reserve(HUGE), HUGE, RW);
    fill(probe, PAGE, 1);
    bool collapse = madvise(probe, HUGE, ADVICE_COLLAPSE) == 0;
    for (int round = 0; round < 3; round++) {
        char *src = map_at(reserve(size), size, RW);
        CHECK_OK(madvise(src, size, MADV_HUGEPAGE));
        fill(src, size, 1);
        if (smaps_kib(src, "AnonHugePages") != (long)(size / KIB)) {
            test_skip("no transparent huge pages to be had");
        }
        char *dst = reserve(size + HUGE) + shifts[round];
        size_t part = round == 1 ? size - HUGE / 2 : size; /* one is cut by the end of the range */
        begin_move();
        CHECK_PTR(mremap(src, part, part, MOVE_TO, dst), dst);
        check_copied(part / PAGE);
        CHECK_HOLDS(dst, part, 1);
        CHECK_HOLDS_FROM(src + part, size - part, 1, part);
        CHECK_EQ(smaps_kib(dst, "Rss"), part / KIB);
        CHECK_EQ(vmas_in(dst, part), 1);
        if (collapse && shifts[round] == 0) {
            CHECK_EQ(smaps_kib(dst, "AnonHugePages"), part / HUGE * HUGE / KIB);
        }
    }
}

static void swapped_pages(void)
{
    char *src = piece(LEN, 1);
    if (madvise(src, LEN, MADV_PAGEOUT) != 0 || smaps_kib(src, "Swap") <= 0) {
        test_skip("no swap space in use here");
    }
    fill(src + 5 * PAGE, PAGE, 2); /* one is back */
    char *dst = move_and_merge(src, LEN, LEN, 0, LEN / PAGE);
    CHECK_HOLDS(dst, 5 * PAGE, 1);
    CHECK_HOLDS(dst + 5 * PAGE, PAGE, 2);
    CHECK_HOLDS_FROM(dst + 6 * PAGE, LEN - 6 * PAGE, 1, 6 * PAGE);
}

/* ---- what merges ---- */

static size_t region_size(unsigned i)
{
    return 16 * KIB + ((i * 7919u) % 61) * PAGE; /* 16 to 256 KiB */
}

static void two_thousand_regions(void)
{
    enum { REGIONS = 2000 };
    static char *src[REGIONS];
    size_t total = 0;
    need_copy();
    for (unsigned i = 0; i < REGIONS; i++) {
        src[i] = piece(region_size(i), i);
        total += region_size(i);
    }
    char *area = reserve(total);
    char *at = area;
    begin_move();
    for (unsigned i = 0; i < REGIONS; i++) {
        CHECK_PTR(mremap(src[i], region_size(i), region_size(i), MOVE_TO, at), at);
        at += region_size(i);
    }
    CHECK_EQ(ADDED(outcomes[REMAP_OUTCOME_COPY]), REGIONS);
    CHECK_EQ(ADDED(pages_copied), total / PAGE);
    CHECK_EQ(vmas_in(area, total), 1);
    at = area;
    for (unsigned i = 0; i < REGIONS; i++) {
        CHECK_HOLDS(at, region_size(i), i);
        at += region_size(i);
    }
}

static void later_neighbours(void)
{
    char *area = reserve(3 * LEN);
    begin_move();
    static const unsigned order[] = {1, 2, 0}; /* the first one has nothing to merge with */
    for (unsigned i = 0; i < 3; i++) {
        char *dst = area + order[i] * LEN;
        CHECK_PTR(mremap(piece(LEN, order[i]), LEN, LEN, MOVE_TO, dst), dst);
    }
    CHECK_EQ(ADDED(outcomes[REMAP_OUTCOME_COPY]), 3);
    CHECK_EQ(ADDED(saved), 2);
    CHECK_EQ(vmas_in(area, 3 * LEN), 1);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_HOLDS(area + i * LEN, LEN, i);
    }
}

static void merges_after_mprotect(void)
{
    char *src = piece(LEN, 1);
    char *dst = beside(LEN);
    CHECK_OK(mprotect(src, LEN, PROT_READ));
    begin_move();
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    check_copied(LEN / PAGE);
    CHECK_EQ(vmas_in(dst - PAGE, LEN + PAGE), 2);
    CHECK_OK(mprotect(dst, LEN, RW));
    CHECK_EQ(vmas_in(dst - PAGE, LEN + PAGE), 1);
    CHECK_HOLDS(dst, LEN, 1);
}

/* ---- options ---- */

static void max_bytes(void)
{
    char *src = piece(2 * MIB, 1);
    char *dst = reserve(2 * MIB);
    need_copy();
    begin_move();
    CHECK_PTR(mremap(src, 2 * MIB, 2 * MIB, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, 2 * MIB, 1);
    CHECK_EQ(ADDED(reasons[REMAP_REASON_TOO_BIG]), 1);
    CHECK_EQ(ADDED(outcomes[REMAP_OUTCOME_PLAIN]), 1);
    CHECK_EQ(ADDED(pages_copied), 0);
    move_and_merge(piece(MIB, 2), MIB, MIB, 0, MIB / PAGE);
    move_and_merge(piece(LEN, 3), LEN, 8 * MIB, 0, LEN / PAGE); /* what is populated counts */
}

static void in_order(enum remap_tier preferred, bool preferred_is_here)
{
    struct remap_features f = features_now();
    if (f.features[REMAP_FEATURE_RELOCATE].answer == REMAP_ANSWER_PRESENT) {
        test_skip("the kernel relocates by itself");
    }
    if (!preferred_is_here) {
        need_copy();
        preferred = REMAP_TIER_COPY;
    }
    CHECK_EQ(f.tier, preferred);
    char *src = piece(LEN, 1);
    char *dst = reserve(LEN);
    counted_before = stats_now();
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO | MUST, dst), dst);
    CHECK_EQ(ADDED(tier_moves[preferred]), 1);
    CHECK_EQ(ADDED(pages_copied), preferred == REMAP_TIER_COPY ? LEN / PAGE : 0);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK_EQ(stats_now().identity.tier, preferred);
}

/* The first that there is: copying is the last resort. */
static void named_last(void)
{
    struct remap_features f = features_now();
    in_order(REMAP_TIER_UFFD,
             f.features[REMAP_FEATURE_UFFDIO_MOVE].answer == REMAP_ANSWER_PRESENT &&
                 f.features[REMAP_FEATURE_PAGEMAP_SCAN].answer == REMAP_ANSWER_PRESENT);
}

static void named_first(void)
{
    in_order(REMAP_TIER_COPY, false);
}

/* It is never used unless it is named. */
static void not_named(void)
{
    CHECK(features_now().tier != REMAP_TIER_COPY);
    char *src = piece(LEN, 1);
    char *dst = reserve(LEN);
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK_EQ(stats_now().counters.pages_copied, 0);
    CHECK_EQ(stats_now().counters.outcomes[REMAP_OUTCOME_COPY], 0);
}

static const struct test_case cases[] = {
    {"fixed", fixed, COPYING},
    {"grown", grown, COPYING},
    {"shrunk", shrunk, COPYING},
    {"chosen_by_the_kernel", chosen_by_the_kernel, COPYING},
    {"dontunmap", dontunmap, COPYING},
    {"part_of_a_vma", part_of_a_vma, COPYING},
    {"demanded", demanded, COPYING},
    {"read_only", read_only, COPYING},
    {"no_access", no_access, COPYING},
    {"executable", executable, COPYING},
    {"locked", locked, COPYING},
    {"locked_on_fault", locked_on_fault, COPYING},
    {"sparse", sparse, COPYING},
    {"zero_page_only", zero_page_only, COPYING},
    {"huge_pages", huge_pages, COPYING},
    {"swapped_pages", swapped_pages, COPYING},
    {"two_thousand_regions", two_thousand_regions, COPYING},
    {"later_neighbours", later_neighbours, COPYING},
    {"merges_after_mprotect", merges_after_mprotect, COPYING},
    {"max_bytes", max_bytes, COPYING " REMAP_MAX_BYTES=1M"},
    {"named_last", named_last, "REMAP_ENGINE=native,uffd,copy"},
    {"named_first", named_first, "REMAP_ENGINE=copy,uffd"},
    {"not_named", not_named, "REMAP_ENGINE="},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
