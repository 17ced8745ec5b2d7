/* SPDX-License-Identifier: MIT */
/*
 * The native tier: what the shim does where the kernel knows MREMAP_RELOCATE_ANON (8) and
 * MREMAP_MUST_RELOCATE_ANON (16). No released kernel does, so a double stands in for one
 * (double.h): it sees which calls the shim makes, with which flags, and relocates. native_answers.c
 * has what follows other answers.
 *
 * What the double cannot prove: that a real kernel with these flags does what was posted, and is
 * safe and fast; what becomes of attributes and of huge, shared, pinned and swapped pages; races.
 * For that there are tier_is_native and must_is_native: they run where the kernel itself has the
 * flag, and skip elsewhere. `tests/kernels/run --kernel` runs the whole suite on such a kernel.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "native_scene.h"

/* ---- the double itself, by raw system calls ---- */

static void double_relocates(void)
{
    begin();
    static const int flags[] = {RELOC, MUST, RELOC | MUST};
    for (size_t i = 0; i < 3; i++) {
        struct scene s = scene();
        check_moved(&s, (char *)raw_mremap(s.src, LEN, LEN, MOVE_TO | flags[i], s.dst));
        CHECK_EQ(vmas_in(s.row, 2 * LEN), 1);

        s = scene();
        CHECK_EQ(raw_mremap(s.src, LEN, LEN, MREMAP_FIXED | flags[i], s.dst), -EINVAL);
        CHECK_EQ(raw_mremap(s.src, LEN, LEN, flags[i], NULL), -EINVAL);
        CHECK_EQ(raw_mremap(s.src, LEN, LEN, MOVE_TO | flags[i], s.src + PAGE), -EINVAL);
        CHECK_EQ(raw_mremap(s.src, LEN, 0, MOVE_TO | flags[i], s.dst), -EINVAL);
        check_not_moved(&s);
        CHECK_OK(munmap(s.src, LEN));
        CHECK_EQ(raw_mremap(s.src, LEN, LEN, MOVE_TO | flags[i], s.dst), -EFAULT);
    }
    /* Without a flag the kernel itself does it, and nothing merges. */
    struct scene s = scene();
    check_moved(&s, (char *)raw_mremap(s.src, LEN, LEN, MOVE_TO, s.dst));
    CHECK_EQ(vmas_in(s.row, 2 * LEN), 2);
}

/* ---- it works ---- */

static void chosen(void)
{
    begin();
    struct remap_features f = features_now();
    CHECK_EQ(f.tier, REMAP_TIER_NATIVE);
    CHECK_EQ(f.features[REMAP_FEATURE_RELOCATE].answer, REMAP_ANSWER_PRESENT);
    CHECK_EQ(f.features[REMAP_FEATURE_MUST_RELOCATE].answer, REMAP_ANSWER_PRESENT);
    struct scene s = scene();
    watch();
    check_moved(&s, mremap(s.src, LEN, LEN, MOVE_TO, s.dst));
    saw_calls(1); /* and no userfaultfd for it */
    saw(0, s.src, LEN, LEN, MOVE_TO | RELOC, s.dst);
    CHECK_EQ(vmas_in(s.row, 2 * LEN), 1);
    struct remap_stats stats = stats_now();
    CHECK_EQ(stats.identity.tier, REMAP_TIER_NATIVE);
    CHECK_EQ(stats.counters.outcomes[REMAP_OUTCOME_NATIVE], 1);
    CHECK_EQ(stats.counters.tier_moves[REMAP_TIER_NATIVE], 1);
    CHECK_EQ(stats.counters.tier_bytes[REMAP_TIER_NATIVE], LEN);
    CHECK_EQ(stats.counters.relocated, 1);
    CHECK_EQ(stats.counters.saved, 1);
}

/* The first call finds out, and is itself made natively. */
static void first_call(void)
{
    under_double();
    CHECK(move_merges(0));
    CHECK_EQ(outcomes(REMAP_OUTCOME_NATIVE), 1);
    const struct double_call *last = double_call(double_count() - 1);
    CHECK_EQ(last->number, SYS_mremap);
    CHECK_EQ(last->flags, MOVE_TO | RELOC);
}

static void merges_counted(void)
{
    begin_native();
    char *row = map_at(reserve(4 * LEN), 3 * LEN, RW); /* left and right share an anon_vma */
    fill(row, 3 * LEN, 2);
    CHECK_OK(munmap(row + LEN, LEN));
    char *src = piece(LEN, 1);
    CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO, row + LEN), row + LEN);
    CHECK_EQ(vmas_in(row, 3 * LEN), 1);
    CHECK_EQ(stats_now().counters.merged_left, 1);
    CHECK_EQ(stats_now().counters.merged_right, 1);
    CHECK_EQ(stats_now().counters.saved, 2);
    char *right = map_at(reserve(4 * LEN) + LEN, LEN, RW);
    fill(right, LEN, 2);
    src = piece(LEN, 1);
    CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO, right - LEN), right - LEN);
    CHECK_EQ(vmas_in(right - LEN, 2 * LEN), 1);
    CHECK_EQ(stats_now().counters.merged_right, 2);
    src = piece(LEN, 1);
    char *alone = reserve(2 * LEN);
    CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO, alone), alone);
    CHECK_EQ(stats_now().counters.saved, 3);
    CHECK_EQ(outcomes(REMAP_OUTCOME_NATIVE), 3);
}

/* One call of the program: the calls made for it, and what the program has then. */
static void one_call(int flags, size_t new_size, bool anywhere, int with)
{
    char *map = piece(3 * LEN, 1);
    char *src = map + LEN; /* a part of a VMA */
    char *dst = anywhere ? NULL : reserve(2 * LEN + HUGE) + 3 * PAGE;
    size_t kept = new_size < LEN ? new_size : LEN;
    watch();
    char *got = shim_mremap(src, LEN, new_size, flags | with, dst);
    CHECK(got != MAP_FAILED);
    int expected = flags | (with & MUST ? MUST : RELOC);
    if (flags == MREMAP_MAYMOVE) { /* growth: in place if there is room */
        saw_calls(2);
        saw(0, src, LEN, new_size, 0, NULL);
        saw(1, src, LEN, new_size, expected, NULL);
    } else {
        saw_calls(1);
        saw(0, src, LEN, new_size, expected, dst);
    }
    if (!anywhere) {
        CHECK_PTR(got, dst);
    }
    CHECK_HOLDS_FROM(got, kept, 1, LEN);
    CHECK(holds_zero(got + kept, new_size - kept));
    CHECK_HOLDS(map, LEN, 1);
    CHECK_HOLDS_FROM(map + 2 * LEN, LEN, 1, 2 * LEN);
    if (flags & MREMAP_DONTUNMAP) {
        CHECK(holds_zero(src, LEN));
    } else {
        CHECK_EQ(mapped_in(src, LEN), 0);
    }
}

static void every_kind(void)
{
    begin_native();
    static const int with[] = {0, RELOC, MUST, RELOC | MUST};
    static const char *const ways[] = {"mremap", "syscall"};
    for (size_t way = 0; way < 2; way++) {
        test_variant = ways[way];
        for (size_t i = 0; i < 4; i++) {
            one_call(MOVE_TO, LEN, false, with[i]);
            one_call(MOVE_TO, 2 * LEN, false, with[i]);
            one_call(MOVE_TO, LEN / 2, false, with[i]);
            one_call(MOVE_TO | MREMAP_DONTUNMAP, LEN, false, with[i]);
            one_call(MREMAP_MAYMOVE | MREMAP_DONTUNMAP, LEN, true, with[i]);
            one_call(MREMAP_MAYMOVE, 2 * LEN, true, with[i]);
        }
    }
    CHECK_EQ(outcomes(REMAP_OUTCOME_NATIVE), 48);
}

/* Calls that cannot move anything: no flag, and no probe. */
static void unmoved_never_flagged(void)
{
    under_double();
    char *src = piece(LEN, 1);
    static const int with[] = {0, RELOC, MUST};
    for (size_t i = 0; i < 3; i++) {
        int flags = MREMAP_MAYMOVE | with[i];
        CHECK_PTR(shim_mremap(src, LEN, LEN, flags, NULL), src);
        CHECK_PTR(shim_mremap(src, LEN, LEN / 2, flags, NULL), src);
        CHECK_OK(munmap(src + LEN / 2, LEN / 2));
        CHECK_PTR(shim_mremap(src, LEN / 2, LEN, flags, NULL), src);
        CHECK_HOLDS(src, LEN / 2, 1);
        CHECK_EQ(double_count(), 3 * (i + 1));
    }
    for (size_t i = 1; i < 3; i++) {
        CHECK_ERRNO(shim_mremap(src, LEN, LEN, with[i], NULL), EINVAL);
        CHECK_ERRNO(shim_mremap(src, LEN, LEN, MREMAP_FIXED | with[i], src + LEN), EINVAL);
        CHECK_ERRNO(shim_mremap(src, LEN, 4 * LEN, with[i], NULL), EINVAL);
    }
    CHECK_EQ(flagged(), 0);
    CHECK_HOLDS(src, LEN / 2, 1);
}

/* ---- what it cannot relocate ---- */

static void check_refused(const char *src)
{
    char *dst = reserve(LEN);
    watch();
    CHECK_ERRNO(shim_mremap(src, LEN, LEN, MOVE_TO | MUST, dst), EFAULT);
    saw_calls(1); /* not tried again in another way */
    saw(0, src, LEN, LEN, MOVE_TO | MUST, dst);
    CHECK_EQ(mapped_in(dst, LEN), 0);
    CHECK_HOLDS(src, LEN, 1);
}

static void must_refused(void)
{
    begin_native();
    check_refused(shared_piece());
    double_answers_once(DOUBLE_16, -EFAULT); /* for reasons that only the kernel knows */
    check_refused(piece(LEN, 1));
    struct remap_stats_counters c = stats_now().counters;
    CHECK_EQ(c.outcomes[REMAP_OUTCOME_FAILED], 2);
    CHECK_EQ(c.reasons[REMAP_REASON_MUST], 2);
    CHECK_EQ(c.call_errnos[EFAULT], 2);
    CHECK(move_merges(MUST));
    check_alive();
}

/* With 8 such a move is a plain one; whether the kernel is told the flag makes no difference. */
static void relocate_ineligible(void)
{
    begin_native();
    char *src = shared_piece();
    char *dst = reserve(LEN);
    CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO | RELOC, dst), dst);
    saw_calls(1);
    CHECK_EQ(double_call(double_count() - 1)->addr, (uintptr_t)src);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK_EQ(mapped_in(src, LEN), 0);
    check_alive();
}

/* Moves that are no relocations do not count as such, nor what merges by itself as saved. */
static void not_counted(void)
{
    begin_native();
    CHECK(move_merges(0));
    char *src = shared_piece();
    char *dst = reserve(LEN);
    CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, LEN, 1);
    src = island(LEN); /* unfaulted */
    dst = map_at(reserve(2 * LEN), LEN, RW) + LEN;
    CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    CHECK_EQ(vmas_in(dst - LEN, 2 * LEN), 1);
    struct remap_stats_counters c = stats_now().counters;
    CHECK_EQ(c.moves, 3);
    CHECK_EQ(c.saved, 1);
    CHECK_EQ(c.relocated, 1);
    CHECK_EQ(c.outcomes[REMAP_OUTCOME_NATIVE], 1);
}

/* The bounds hold for this tier too, and not for what the program asks for by a flag. */
static void size_bounds(void)
{
    static const size_t sizes[] = {PAGE, 2 * MIB};
    begin_native();
    for (size_t i = 0; i < 2; i++) {
        char *dst = reserve(sizes[i]);
        char *src = piece(sizes[i], 1);
        watch();
        CHECK_PTR(shim_mremap(src, sizes[i], sizes[i], MOVE_TO, dst), dst);
        CHECK_HOLDS(dst, sizes[i], 1);
        CHECK_EQ(flagged(), 0);
        dst = reserve(sizes[i]);
        src = piece(sizes[i], 1);
        CHECK_PTR(shim_mremap(src, sizes[i], sizes[i], MOVE_TO | RELOC, dst), dst);
        CHECK_HOLDS(dst, sizes[i], 1);
        CHECK_EQ(flagged(), 1);
    }
    CHECK_EQ(stats_now().counters.reasons[REMAP_REASON_TOO_SMALL], 1);
    CHECK_EQ(stats_now().counters.reasons[REMAP_REASON_TOO_BIG], 1);
    check_alive();
}

/* A range of several VMAs, on kernels that move them all and on those that answer EFAULT. */
static void several_vmas(void)
{
    static const int with[] = {0, RELOC};
    begin_native();
    for (size_t i = 0; i < 2; i++) {
        char *src = piece(3 * LEN, 1);
        char *dst = reserve(3 * LEN);
        CHECK_OK(mprotect(src + LEN, LEN, PROT_READ));
        CHECK_PTR(shim_mremap(src, 3 * LEN, 3 * LEN, MOVE_TO | with[i], dst), dst);
        CHECK_HOLDS(dst, 3 * LEN, 1);
        CHECK_EQ(vmas_in(dst, 3 * LEN), 3);
        CHECK_EQ(mapped_in(src, 3 * LEN), 0);
        fill(dst, LEN, 3);
        fill(dst + 2 * LEN, LEN, 3);
    }
    check_alive();
}

/* ---- options ---- */

static void engine_uffd_first(void)
{
    begin();
    CHECK_EQ(answer_to(REMAP_FEATURE_RELOCATE), REMAP_ANSWER_PRESENT);
    if (has_uffd()) {
        CHECK_EQ(features_now().tier, REMAP_TIER_UFFD);
        check_unused();
    } else {
        CHECK_EQ(features_now().tier, REMAP_TIER_NATIVE);
        check_alive();
    }
}

/* Nothing else may be used once the flag has failed. */
static void engine_native(void)
{
    begin_native();
    check_alive();
    double_answers(DOUBLE_8, -EINVAL);
    double_answers(DOUBLE_16, -EINVAL);
    CHECK(!move_merges(0));
    watch();
    CHECK(!move_merges(0));
    struct scene s = scene();
    CHECK_ERRNO(shim_mremap(s.src, LEN, LEN, MOVE_TO | MUST, s.dst), EFAULT);
    check_not_moved(&s);
    CHECK_EQ(mapped_in(s.dst, LEN), 0);
    CHECK_EQ(flagged(), 0);
    CHECK_EQ(outcomes(REMAP_OUTCOME_UFFD), 0);
}

static void engine_none(void)
{
    begin();
    CHECK_EQ(answer_to(REMAP_FEATURE_RELOCATE), REMAP_ANSWER_PRESENT);
    CHECK_EQ(features_now().tier, REMAP_TIER_NONE);
    struct scene s = scene();
    watch();
    CHECK(!move_merges(0));
    CHECK(!move_merges(RELOC));
    CHECK_ERRNO(shim_mremap(s.src, LEN, LEN, MOVE_TO | MUST, s.dst), EFAULT);
    check_not_moved(&s);
    CHECK_EQ(flagged(), 0);
}

static void policy_observe(void)
{
    begin();
    watch();
    CHECK(!move_merges(0));
    saw_calls(1);
    CHECK_EQ(flagged(), 0);
}

/* ---- children and threads ---- */

static void move_in_child(void *unused)
{
    (void)unused;
    watch();
    CHECK(move_merges(0));
    CHECK(move_merges(MUST));
    CHECK_EQ(flagged() + unflagged(), 2); /* nothing was asked again */
    CHECK_EQ(flagged(), 2);
    CHECK_EQ(double_call(double_count() - 1)->thread, getpid());
    CHECK_EQ(outcomes(REMAP_OUTCOME_NATIVE), 2);
    CHECK_EQ(features_now().tier, REMAP_TIER_NATIVE);
}

static void forked_child(void)
{
    begin_native();
    CHECK(move_merges(0));
    in_child(move_in_child, NULL);
    check_alive();
}

#define MOVES 100
static pthread_barrier_t all_ready;

/* Piece by piece into a row of its own. */
static void *compact(void *argument)
{
    char *row = argument;
    char *pieces[MOVES];
    for (unsigned i = 0; i < MOVES; i++) {
        pieces[i] = piece(PAGE, i);
    }
    pthread_barrier_wait(&all_ready);
    for (unsigned i = 0; i < MOVES; i++) {
        CHECK_PTR(mremap(pieces[i], PAGE, PAGE, MOVE_TO, row + i * PAGE), row + i * PAGE);
    }
    return NULL;
}

static void two_threads(void)
{
    pthread_t threads[2];
    char *rows[2];
    begin_native();
    CHECK_EQ(pthread_barrier_init(&all_ready, NULL, 2), 0);
    for (size_t i = 0; i < 2; i++) {
        rows[i] = reserve((size_t)(MOVES + 1) * PAGE);
        CHECK_EQ(pthread_create(&threads[i], NULL, compact, rows[i]), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        for (size_t n = 0; n < MOVES; n++) {
            CHECK_HOLDS(rows[i] + n * PAGE, PAGE, (unsigned)n);
        }
        CHECK_LE(vmas_in(rows[i], MOVES * PAGE), 2); /* as ordinary memory merges */
    }
    saw_calls((size_t)2 * MOVES);
    CHECK_EQ(flagged(), 2 * MOVES);
    CHECK_EQ(outcomes(REMAP_OUTCOME_NATIVE), 2 * MOVES);
}

/* ---- without the double ---- */

/* Asks the kernel itself, as the probe does, but by other means. */
static void need_the_flag(int flag, const char *name)
{
    struct scene s = scene();
    long got = raw_mremap(s.src, LEN, LEN, MOVE_TO | flag, s.dst);
    if (got != (long)s.dst || vmas_in(s.row, 2 * LEN) != 1) {
        test_skip("this kernel has no %s (proposed, in no release)", name);
    }
    check_moved(&s, (char *)got);
    if (answer_to(REMAP_FEATURE_RELOCATE) == REMAP_ANSWER_BROKEN) {
        test_skip("the flag of this kernel is refused by name");
    }
}

static void tier_is_native(void)
{
    need_the_flag(RELOC, "MREMAP_RELOCATE_ANON");
    CHECK_EQ(features_now().tier, REMAP_TIER_NATIVE);
    CHECK_EQ(stats_now().identity.tier, REMAP_TIER_NATIVE);
    for (uint64_t i = 1; i <= 10; i++) {
        CHECK(move_merges(i % 2 ? 0 : RELOC));
        CHECK_EQ(outcomes(REMAP_OUTCOME_NATIVE), i);
        CHECK_EQ(relocated_now(), i);
        CHECK_EQ(stats_now().counters.saved, i);
    }
    CHECK_EQ(stats_now().counters.tier_moves[REMAP_TIER_NATIVE], 10);
}

static void must_is_native(void)
{
    need_the_flag(MUST, "MREMAP_MUST_RELOCATE_ANON");
    CHECK_EQ(answer_to(REMAP_FEATURE_MUST_RELOCATE), REMAP_ANSWER_PRESENT);
    CHECK(move_merges(MUST));
    CHECK(move_merges(MUST | RELOC));
    CHECK_EQ(outcomes(REMAP_OUTCOME_NATIVE), 2);
    const char *src = shared_piece();
    char *dst = reserve(LEN);
    CHECK_ERRNO(shim_mremap(src, LEN, LEN, MOVE_TO | MUST, dst), EFAULT);
    CHECK_HOLDS(src, LEN, 1);
    CHECK_EQ(mapped_in(dst, LEN), 0);
    CHECK(move_merges(MUST));
    CHECK_EQ(outcomes(REMAP_OUTCOME_NATIVE), 3);
}

static const struct test_case cases[] = {
    {"double_relocates", double_relocates, NULL},
    {"chosen", chosen, NULL},
    {"first_call", first_call, NULL},
    {"merges_counted", merges_counted, NULL},
    {"every_kind", every_kind, NULL},
    {"unmoved_never_flagged", unmoved_never_flagged, NULL},
    {"must_refused", must_refused, NULL},
    {"relocate_ineligible", relocate_ineligible, NULL},
    {"not_counted", not_counted, NULL},
    {"size_bounds", size_bounds, "REMAP_MIN_BYTES=8K REMAP_MAX_BYTES=1M"},
    {"several_vmas", several_vmas, NULL},
    {"engine_uffd_first", engine_uffd_first, "REMAP_ENGINE=uffd,native"},
    {"engine_native", engine_native, "REMAP_ENGINE=native"},
    {"engine_none", engine_none, "REMAP_ENGINE=none"},
    {"policy_observe", policy_observe, "REMAP_POLICY=observe"},
    {"forked_child", forked_child, NULL},
    {"two_threads", two_threads, NULL},
    {"tier_is_native", tier_is_native, NULL},
    {"must_is_native", must_is_native, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
