/* SPDX-License-Identifier: MIT */
/*
 * The ordinary program, which knows nothing of the shim and passes flags up to 7: what it sees is
 * what plain mremap would have shown it, but for the VMAs, which merge.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib.h"

#define LEN (16 * PAGE)

/* A filled neighbour of one page, and room for `size` right after it. */
static char *beside(size_t size)
{
    char *area = map_at(reserve(size + PAGE), PAGE, RW);
    fill(area, PAGE, 99);
    return area + PAGE;
}

static void check_merged(const char *dst, size_t size)
{
    CHECK_HOLDS(dst - PAGE, PAGE, 99);
    CHECK_EQ(vmas_in(dst - PAGE, size + PAGE), can_relocate() ? 1 : 2);
}

static void fixed(void)
{
    static const size_t sizes[] = {PAGE, 2 * PAGE, 16 * KIB, 60 * KIB, 256 * KIB, 3 * MIB, 9 * MIB};
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *src = island(sizes[i]);
        char *dst = beside(sizes[i]);
        madvise(src, sizes[i],
                MADV_NOHUGEPAGE); /* those would have to be split: see huge_misaligned */
        madvise(dst - PAGE, sizes[i] + PAGE, MADV_NOHUGEPAGE);
        fill(src, sizes[i], i);
        CHECK_PTR(mremap(src, sizes[i], sizes[i], MOVE_TO, dst), dst);
        CHECK_HOLDS(dst, sizes[i], i);
        CHECK_EQ(mapped_in(src, sizes[i]), 0);
        check_merged(dst, sizes[i]);
    }
}

static void fixed_grows(void)
{
    char *src = piece(LEN, 1);
    char *dst = beside(4 * LEN);
    CHECK_PTR(mremap(src, LEN, 4 * LEN, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK(holds_zero(dst + LEN, 3 * LEN));
    CHECK_EQ(mapped_in(src, LEN), 0);
    check_merged(dst, 4 * LEN);
}

static void fixed_shrinks(void)
{
    char *src = piece(LEN, 1);
    char *dst = beside(LEN);
    CHECK_PTR(mremap(src, LEN, LEN / 4, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, LEN / 4, 1);
    CHECK_EQ(mapped_in(src, LEN), 0);
    CHECK_EQ(vmas_in(dst, LEN / 4 + PAGE), 2); /* the reservation goes on behind it */
    check_merged(dst, LEN / 4);
}

static void in_place(void)
{
    char *src = piece(LEN, 1);
    struct remap_stats before = stats_now();
    CHECK_OK(munmap(src + LEN, LEN));
    CHECK_PTR(mremap(src, LEN, 2 * LEN, MREMAP_MAYMOVE), src);
    CHECK_PTR(mremap(src, 2 * LEN, LEN + PAGE, MREMAP_MAYMOVE), src);
    CHECK_PTR(mremap(src, LEN + PAGE, LEN, 0), src);
    CHECK_HOLDS(src, LEN, 1);
    CHECK_EQ(mapped_in(src, 2 * LEN), LEN);
    CHECK_EQ(stats_now().counters.moves - before.counters.moves, 0);
    CHECK_ERRNO(mremap(src, LEN, 64 * LEN, 0), ENOMEM);
}

/* Where the kernel chooses, it chooses as it would have without the shim. */
static void same_address_as_plain(void)
{
    static const size_t sizes[] = {PAGE, LEN, 700 * KIB, 3 * MIB};
    char *warm = piece(LEN, 1);
    char *to = reserve(LEN);
    CHECK_PTR(mremap(warm, LEN, LEN, MOVE_TO, to), to);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t size = sizes[i];
        size_t grown = size * 2 + PAGE;
        char *src = piece(size, i);
        long plain = raw_mremap(src, size, grown, MREMAP_MAYMOVE, NULL);
        CHECK(plain > 0 && (char *)plain != src);
        CHECK_OK(munmap((char *)plain + size, grown - size));
        CHECK_EQ(raw_mremap((char *)plain, size, size, MOVE_TO, src), (long)src);
        CHECK_PTR(mremap(src, size, grown, MREMAP_MAYMOVE), (char *)plain);
        CHECK_HOLDS((char *)plain, size, i);
        CHECK(holds_zero((char *)plain + size, grown - size));
        CHECK_EQ(mapped_in(src, size), 0);
        CHECK_OK(munmap((char *)plain, grown));
    }
}

static void part(size_t from, size_t size)
{
    char *src = piece(3 * LEN, 1);
    char *dst = beside(size);
    CHECK_PTR(mremap(src + from, size, size, MOVE_TO, dst), dst);
    CHECK_HOLDS_FROM(dst, size, 1, from);
    CHECK_EQ(mapped_in(src, 3 * LEN), 3 * LEN - size);
    CHECK_EQ(mapped_in(src + from, size), 0);
    CHECK_HOLDS(src, from, 1);
    CHECK_HOLDS_FROM(src + from + size, 3 * LEN - from - size, 1, from + size);
    check_merged(dst, size);
}

static void part_head(void)
{
    part(0, LEN);
}

static void part_middle(void)
{
    part(LEN, LEN);
    part(PAGE, PAGE);
}

static void part_tail(void)
{
    part(2 * LEN, LEN);
}

static void part_grows(void)
{
    char *src = piece(3 * LEN, 1);
    char *dst = mremap(src, LEN, 2 * LEN, MREMAP_MAYMOVE);
    CHECK(dst != MAP_FAILED && dst != src);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK(holds_zero(dst + LEN, LEN));
    CHECK_EQ(mapped_in(src, 3 * LEN), 2 * LEN);
    CHECK_HOLDS_FROM(src + LEN, 2 * LEN, 1, LEN);
}

static void dontunmap(void)
{
    char *src = piece(LEN, 1);
    char *dst = beside(LEN);
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO | MREMAP_DONTUNMAP, dst), dst);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK_EQ(mapped_in(src, LEN), LEN);
    CHECK(holds_zero(src, LEN));
    check_merged(dst, LEN);
    /* Part of a VMA, and the emptied range can be used and moved again. */
    fill(src, LEN, 2);
    char *again = beside(LEN / 2);
    CHECK_PTR(mremap(src, LEN / 2, LEN / 2, MOVE_TO | MREMAP_DONTUNMAP, again), again);
    CHECK_HOLDS(again, LEN / 2, 2);
    CHECK(holds_zero(src, LEN / 2));
    CHECK_HOLDS_FROM(src + LEN / 2, LEN / 2, 2, LEN / 2);
    check_merged(again, LEN / 2);
}

static void over_a_mapping(void)
{
    char *area = map_at(reserve(3 * LEN), 3 * LEN, RW);
    fill(area, 3 * LEN, 5);
    char *src = piece(LEN, 1);
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, area + LEN), area + LEN);
    CHECK_HOLDS(area, LEN, 5);
    CHECK_HOLDS(area + LEN, LEN, 1);
    CHECK_HOLDS_FROM(area + 2 * LEN, LEN, 5, 2 * LEN);
    CHECK_EQ(vmas_in(area, 3 * LEN), can_relocate() ? 1 : 3);
}

/* The pages are moved, not copied, and nothing is populated that was not. */
static void sparse(size_t size, size_t stride)
{
    char *src = island(size);
    CHECK_OK(madvise(src, size, MADV_NOHUGEPAGE));
    char *dst = reserve(size + PAGE);
    size_t populated = 0;
    for (size_t at = 0; at < size; at += stride) {
        fill(src + at, PAGE, (unsigned)(at / PAGE));
        populated++;
    }
    char *warm = piece(PAGE, 1);
    CHECK(mremap(warm, PAGE, 2 * PAGE, MREMAP_MAYMOVE) != MAP_FAILED);
    long tables = proc_status_kib("VmPTE");
    CHECK_EQ(smaps_kib(src, "Rss"), populated * PAGE / KIB);
    uint64_t before = relocated_now();
    CHECK_PTR(mremap(src, size, size, MOVE_TO, dst), dst);
    CHECK_EQ(relocated_now() - before, can_relocate() ? 1 : 0);
    CHECK_LE(proc_status_kib("VmPTE") - tables, 64);
    CHECK_EQ(smaps_kib(dst, "Rss"), populated * PAGE / KIB);
    for (size_t at = 0; at < size; at += stride) {
        CHECK_HOLDS(dst + at, PAGE, (unsigned)(at / PAGE));
    }
    for (size_t at = PAGE; at + PAGE <= size; at += stride) {
        CHECK(holds_zero(dst + at, PAGE)); /* and nobody waits there */
    }
}

static void sparse_one_page(void)
{
    sparse(64 * MIB, 64 * MIB);
    sparse(GIB, GIB);
}

static void sparse_every_third(void)
{
    sparse(3000 * PAGE, 3 * PAGE);
}

static void sparse_far_apart(void)
{
    sparse(64 * MIB, 5 * MIB);
}

/* ---- many regions ---- */

enum { REGIONS = 2000 };

static size_t region_size(unsigned i)
{
    return 16 * KIB + ((i * 7919u) % 61) * PAGE; /* 16 to 256 KiB */
}

static size_t move_regions(bool shimmed)
{
    size_t total = 0;
    for (unsigned i = 0; i < REGIONS; i++) {
        total += region_size(i);
    }
    char *area = reserve(total);
    char *src[REGIONS];
    for (unsigned i = 0; i < REGIONS; i++) {
        src[i] = piece(region_size(i), i);
    }
    char *at = area;
    for (unsigned i = 0; i < REGIONS; i++) {
        size_t size = region_size(i);
        if (shimmed) {
            CHECK_PTR(mremap(src[i], size, size, MOVE_TO, at), at);
        } else {
            CHECK_EQ(raw_mremap(src[i], size, size, MOVE_TO, at), (long)at);
        }
        at += size;
    }
    at = area;
    for (unsigned i = 0; i < REGIONS; i++) {
        CHECK_HOLDS(at, region_size(i), i);
        at += region_size(i);
    }
    return vmas_in(area, total);
}

static void move_plainly(void *argument)
{
    int to = *(int *)argument;
    size_t vmas = move_regions(false);
    CHECK_EQ(write(to, &vmas, sizeof(vmas)), sizeof(vmas));
}

static void two_thousand_regions(void)
{
    int ends[2];
    size_t plain = 0;
    need_relocation();
    CHECK_OK(pipe(ends));
    in_child(move_plainly, &ends[1]);
    CHECK_EQ(read(ends[0], &plain, sizeof(plain)), sizeof(plain));
    struct remap_stats before = stats_now();
    size_t shimmed = move_regions(true);
    struct remap_stats after = stats_now();
    CHECK_LE(shimmed, 2);
    CHECK_GE(plain, REGIONS);
    CHECK_EQ(after.counters.relocated - before.counters.relocated, REGIONS);
    size_t saved = after.counters.saved - before.counters.saved;
    CHECK_GE(saved * 100, (plain - shimmed) * 98);
    CHECK_LE(saved * 100, (plain - shimmed) * 102);
}

/* ---- kinds of pages ---- */

static char *huge_piece(size_t size)
{
    char *src = map_at(reserve(size + HUGE), size, RW);
    CHECK_OK(madvise(src, size, MADV_HUGEPAGE));
    fill(src, size, 1);
    if (smaps_kib(src, "AnonHugePages") != (long)(size / KIB)) {
        test_skip("no transparent huge pages to be had");
    }
    return src;
}

static void huge_aligned(void)
{
    size_t size = 4 * HUGE;
    char *area = map_at(reserve(size + HUGE), HUGE, RW);
    CHECK_OK(madvise(area, HUGE, MADV_HUGEPAGE));
    fill(area, HUGE, 2);
    char *src = huge_piece(size);
    char *dst = area + HUGE;
    CHECK_PTR(mremap(src, size, size, MOVE_TO, dst), dst);
    CHECK_EQ(vmas_in(area, HUGE + size), can_relocate() ? 1 : 2);
    CHECK_GE(smaps_kib(dst, "AnonHugePages"), size / KIB);
    CHECK_HOLDS(area, HUGE, 2);
    CHECK_HOLDS(dst, size, 1);
}

static void huge_misaligned(void)
{
    size_t size = 2 * HUGE;
    char *src = huge_piece(size);
    char *dst = reserve(size + HUGE) + 3 * PAGE;
    CHECK_PTR(mremap(src, size, size, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, size, 1);
    CHECK_EQ(mapped_in(src, size), 0);
}

static void huge_part(void)
{
    char *src = huge_piece(2 * HUGE);
    char *dst = reserve(2 * HUGE);
    size_t from = HUGE / 2;
    CHECK_PTR(mremap(src + from, HUGE, HUGE, MOVE_TO, dst + from), dst + from);
    CHECK_HOLDS_FROM(dst + from, HUGE, 1, from);
    CHECK_HOLDS(src, from, 1);
    CHECK_HOLDS_FROM(src + from + HUGE, HUGE - from, 1, from + HUGE);
    CHECK_EQ(mapped_in(src, 2 * HUGE), HUGE);
}

static void swapped_pages(void)
{
    if (proc_status_kib("VmSwap") < 0 || read_number("/proc/sys/vm/swappiness") < 0) {
        test_skip("a kernel without swap");
    }
    char *src = piece(64 * PAGE, 1);
    if (madvise(src, 64 * PAGE, 21 /* MADV_PAGEOUT */) != 0 || smaps_kib(src, "Swap") <= 0) {
        test_skip("no swap space in use here");
    }
    char *dst = beside(64 * PAGE);
    CHECK_PTR(mremap(src, 64 * PAGE, 64 * PAGE, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, 64 * PAGE, 1);
    CHECK_EQ(mapped_in(src, 64 * PAGE), 0);
}

/* Pages that a pipe holds: both the memory and the pipe keep what they had. */
static void spliced_pages(void)
{
    int ends[2];
    static char read_back[LEN];
    CHECK_OK(pipe(ends));
    char *src = piece(LEN, 1);
    struct iovec vec = {.iov_base = src, .iov_len = LEN};
    CHECK_EQ(vmsplice(ends[1], &vec, 1, 0), LEN);
    char *dst = beside(LEN);
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, LEN, 1);
    for (size_t n = 0; n < LEN;) {
        ssize_t got = read(ends[0], read_back + n, LEN - n);
        CHECK(got > 0);
        n += (size_t)got;
    }
    CHECK_HOLDS(read_back, LEN, 1);
}

static uint64_t frame_of(int pagemap, const char *at)
{
    uint64_t entry = 0;
    CHECK_EQ(pread(pagemap, &entry, 8, (off_t)((uintptr_t)at / PAGE * 8)), 8);
    return entry & ((1ull << 55) - 1);
}

/* Pages that the kernel has pinned (an io_uring buffer): the very pages move. */
static void pinned_pages(void)
{
    if (copies()) {
        test_skip("pinned pages show only to UFFDIO_MOVE (Linux 6.8): not for the tier copy");
    }
    uint32_t params[30] = {0};
    int ring = (int)syscall(SYS_io_uring_setup, 2, params);
    if (ring < 0) {
        test_skip("io_uring_setup: %s", strerror(errno));
    }
    char *src = piece(LEN, 1);
    struct iovec vec = {.iov_base = src, .iov_len = LEN / 2};
    if (syscall(SYS_io_uring_register, ring, 0 /* IORING_REGISTER_BUFFERS */, &vec, 1) != 0) {
        test_skip("cannot pin pages: %s", strerror(errno));
    }
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    CHECK_OK(pagemap);
    uint64_t frames[LEN / PAGE];
    for (size_t i = 0; i < LEN / PAGE; i++) {
        frames[i] = frame_of(pagemap, src + i * PAGE);
    }
    char *dst = reserve(2 * LEN);
    CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK_EQ(mapped_in(src, LEN), 0);
    for (size_t i = 0; i < LEN / PAGE; i++) {
        CHECK_EQ(frame_of(pagemap, dst + i * PAGE), frames[i]);
    }
    char *must = dst + LEN;
    char *got = mremap(dst, LEN, LEN, MOVE_TO | MUST, must);
    CHECK_HOLDS(got == MAP_FAILED ? dst : must, LEN, 1);
}

/* A part of a VMA in which nothing is populated: it has the VMA's anon_vma all the same, and moved
 * plainly it would never merge. */
static void empty_part(void)
{
    char *src = island(3 * LEN);
    fill(src, LEN, 1);
    fill(src + 2 * LEN, LEN, 1);
    char *area = map_at(reserve(3 * LEN), LEN, RW);
    fill(area, LEN, 2);
    for (int i = 0; i < 2; i++) { /* the second with a demand, for a part of what is left */
        char *from = src + LEN + (size_t)i * LEN / 2;
        char *to = area + LEN + (size_t)i * LEN / 2;
        CHECK_PTR(mremap(from, LEN / 2, LEN / 2, i == 0 ? MOVE_TO : MOVE_TO | MUST, to), to);
        CHECK(holds_zero(to, LEN / 2));
        CHECK_EQ(mapped_in(from, LEN / 2), 0);
    }
    if (can_relocate()) {
        CHECK_EQ(vmas_in(area, 2 * LEN), 1);
    }
    CHECK_HOLDS(area, LEN, 2);
    CHECK_HOLDS(src, LEN, 1);
    CHECK_HOLDS_FROM(src + 2 * LEN, LEN, 1, 0);
    CHECK_EQ(stats_now().counters.relocated, 0);
    fill(area + LEN, LEN, 3); /* an ordinary VMA */
    CHECK_HOLDS(area + LEN, LEN, 3);
}

/* ---- errors, as ever ---- */

static void errors(void)
{
    char *src = piece(LEN, 1);
    char *dst = reserve(LEN);
    CHECK_ERRNO(mremap(src, LEN, 0, MREMAP_MAYMOVE), EINVAL);
    CHECK_ERRNO(mremap(src + 1, LEN, LEN, MREMAP_MAYMOVE), EINVAL);
    CHECK_ERRNO(mremap(src, LEN, LEN, MREMAP_FIXED, dst), EINVAL);
    CHECK_ERRNO(mremap(src, LEN, LEN, MREMAP_DONTUNMAP, dst), EINVAL);
    CHECK_ERRNO(mremap(src, LEN, LEN, MOVE_TO, src + PAGE), EINVAL);
    CHECK_ERRNO(mremap(src, LEN, LEN, MOVE_TO, dst + 1), EINVAL);
    CHECK_ERRNO(mremap(src, LEN, LEN, MOVE_TO, (void *)(UINTPTR_MAX & ~(PAGE - 1))), EINVAL);
    long huge = raw_mremap(src, LEN, 1ull << 60, MREMAP_MAYMOVE, NULL);
    CHECK_ERRNO(mremap(src, LEN, 1ull << 60, MREMAP_MAYMOVE), -huge);
    CHECK_ERRNO(mremap(src, LEN, LEN, 64, dst), EINVAL);
    errno = 4711;
    CHECK(mremap(src, LEN, LEN, MOVE_TO, dst) == dst);
    CHECK_EQ(errno, 4711);
    CHECK_HOLDS(dst, LEN, 1);
}

/* REMAP_MULTI=off, a range with a hole in it: an error, or since Linux 6.17 a move of what is
 * there. */
static void holes_inside(void)
{
    char *src[2];
    char *dst[2];
    for (unsigned i = 0; i < 2; i++) {
        src[i] = piece(3 * LEN, 1);
        CHECK_OK(munmap(src[i] + LEN, LEN));
        dst[i] = reserve(3 * LEN);
    }
    long plain = raw_mremap(src[0], 3 * LEN, 3 * LEN, MOVE_TO, dst[0]);
    errno = 0;
    char *got = mremap(src[1], 3 * LEN, 3 * LEN, MOVE_TO, dst[1]);
    CHECK_EQ(got == MAP_FAILED, plain < 0);
    CHECK_EQ(errno, plain < 0 ? -plain : 0);
    char *at = plain < 0 ? src[1] : dst[1];
    CHECK_HOLDS(at, LEN, 1);
    CHECK_HOLDS_FROM(at + 2 * LEN, LEN, 1, 2 * LEN);
    CHECK_EQ(mapped_in(dst[1], 3 * LEN), mapped_in(dst[0], 3 * LEN));
    CHECK_EQ(mapped_in(src[1], 3 * LEN), mapped_in(src[0], 3 * LEN));
}

/* The same with several VMAs: whatever this kernel does with it, it still does. */
static void several_vmas(void)
{
    char *src[2];
    char *dst[2];
    for (unsigned i = 0; i < 2; i++) {
        src[i] = piece(3 * LEN, 1);
        CHECK_OK(mprotect(src[i] + LEN, LEN, PROT_READ));
        dst[i] = reserve(3 * LEN);
    }
    long plain = raw_mremap(src[0], 3 * LEN, 3 * LEN, MOVE_TO, dst[0]);
    errno = 0;
    char *got = mremap(src[1], 3 * LEN, 3 * LEN, MOVE_TO, dst[1]);
    if (plain < 0) {
        CHECK(got == MAP_FAILED);
        CHECK_EQ(errno, -plain);
        CHECK_HOLDS(src[1], 3 * LEN, 1);
    } else {
        CHECK_PTR(got, dst[1]);
        CHECK_HOLDS(dst[1], 3 * LEN, 1);
        CHECK_EQ(mapped_in(src[1], 3 * LEN), 0);
        struct map_line line;
        CHECK(map_of(dst[1] + LEN, &line) && line.perms[1] == '-');
        CHECK(map_of(dst[1] + 2 * LEN, &line) && line.perms[1] == 'w');
    }
}

/* Grown again and again through addresses of the kernel's choice, as realloc does. */
static void grows_and_grows(void)
{
    size_t size = PAGE;
    char *at = piece(size, 3);
    while (size < 48 * MIB) {
        size_t next = size + size / 2 / PAGE * PAGE + PAGE;
        at = mremap(at, size, next, MREMAP_MAYMOVE);
        CHECK(at != MAP_FAILED);
        CHECK_HOLDS(at, size, 3);
        CHECK(holds_zero(at + size, next - size));
        fill(at, next, 3);
        size = next;
    }
    CHECK_EQ(vmas_in(at, size), 1);
}

static const struct test_case cases[] = {
    {"fixed", fixed, NULL},
    {"fixed_grows", fixed_grows, NULL},
    {"fixed_shrinks", fixed_shrinks, NULL},
    {"in_place", in_place, NULL},
    {"same_address_as_plain", same_address_as_plain, NULL},
    {"part_head", part_head, NULL},
    {"part_middle", part_middle, NULL},
    {"part_tail", part_tail, NULL},
    {"part_grows", part_grows, NULL},
    {"dontunmap", dontunmap, NULL},
    {"over_a_mapping", over_a_mapping, NULL},
    {"sparse_one_page", sparse_one_page, NULL},
    {"sparse_every_third", sparse_every_third, NULL},
    {"sparse_far_apart", sparse_far_apart, NULL},
    {"two_thousand_regions", two_thousand_regions, "REMAP_POLICY=always"},
    {"huge_aligned", huge_aligned, NULL},
    {"huge_misaligned", huge_misaligned, NULL},
    {"huge_part", huge_part, NULL},
    {"swapped_pages", swapped_pages, NULL},
    {"spliced_pages", spliced_pages, NULL},
    {"pinned_pages", pinned_pages, NULL},
    {"empty_part", empty_part, NULL},
    {"errors", errors, NULL},
    {"holes_inside", holes_inside, "REMAP_MULTI=off"},
    {"several_vmas", several_vmas, "REMAP_MULTI=off"},
    {"grows_and_grows", grows_and_grows, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
