/* SPDX-License-Identifier: MIT */
/*
 * One mremap() over several VMAs: Linux 6.17 and later do it by themselves, the shim does it on
 * every kernel, and what can merge at the destination merges. Each scene is made twice: where the
 * kernel can do such moves it gets the first one, so that what a case expects of the shim it
 * expects of the kernel too. What is refused is in span_refuse.c, failures half way in
 * span_faults.c.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "rows.h"

/* ---- what merges ---- */

enum { MANY = 1000 };

static const struct part *many_pages(void)
{
    static struct part parts[MANY];
    for (int i = 0; i < MANY; i++) {
        parts[i] = (struct part){DATA, 1};
    }
    return parts;
}

static void merge_all(size_t count)
{
    struct row before = make_row(many_pages(), count);
    CHECK_EQ(vmas_in(before.src, before.size), count); /* or there is nothing to be mended */
    uint64_t relocated = relocated_now();
    struct row row = move_row(many_pages(), count, MOVE_TO);
    CHECK_EQ(vmas_in(row.dst - PAGE, row.size + 2 * PAGE), can_relocate() ? 1 : count + 2);
    CHECK_EQ(relocated_now() - relocated, can_relocate() ? 1 : 0);
}

static void hundred(void)
{
    merge_all(100);
}

static void thousand(void)
{
    merge_all(MANY);
}

/* Equal ones merge, others stay apart, as they would if they had been mapped there. */
static void merges_by_kind(void)
{
    static const struct part parts[] = {
        {DATA, 2},      {DATA, 1}, {READ_ONLY, 2}, {READ_ONLY, 3}, {NO_ACCESS, 1},
        {NO_ACCESS, 2}, {DATA, 4}, {EMPTY, 2},     {DATA, 3},      {READ_ONLY, 1}};
    need_relocation();
    struct row row = move_row(parts, COUNT(parts), MOVE_TO);
    CHECK_EQ(vmas_in(row.dst - PAGE, row.size + 2 * PAGE), 6);
}

static void mixed(void)
{
    static const struct part parts[] = {{DATA, 3},   {PRIVATE_FILE, 4}, {MEMFD, 2},  {READ_ONLY, 5},
                                        {GAP, 2},    {SHARED, 3},       {EMPTY, 2},  {NO_ACCESS, 3},
                                        {LOCKED, 2}, {DATA, 1},         {LOCKED, 1}, {MEMFD, 1}};
    move_row(parts, COUNT(parts), MOVE_TO);
    move_row(parts, COUNT(parts), MOVE_TO | RELOC);
    move_row(parts, COUNT(parts), MOVE_TO | MREMAP_DONTUNMAP);
}

/* Nothing that could be relocated. */
static void files_only(void)
{
    static const struct part parts[] = {{MEMFD, 3}, {PRIVATE_FILE, 4}, {SHARED, 2}, {MEMFD, 2}};
    uint64_t before = relocated_now();
    move_row(parts, COUNT(parts), MOVE_TO);
    CHECK_EQ(relocated_now() - before, 0);
}

static void unfaulted(void)
{
    static const struct part parts[] = {{EMPTY, 2}, {DATA, 3}, {EMPTY, 4},
                                        {DATA, 1},  {DATA, 2}, {EMPTY, 1}};
    static const struct part apart[] = {{EMPTY, 2}, {GAP, 1}, {EMPTY, 4}};
    struct row row = move_row(parts, COUNT(parts), MOVE_TO);
    if (can_relocate()) {
        CHECK_EQ(vmas_in(row.dst - PAGE, row.size + 2 * PAGE), 1);
    }
    row = move_row(apart, COUNT(apart), MOVE_TO);
    CHECK_EQ(vmas_in(row.dst - PAGE, row.size + 2 * PAGE), 1);
}

static void huge_pages_inside(void)
{
    size_t size = HUGE + 4 * PAGE;
    for (int shimmed = kernel_spans() ? 0 : 1; shimmed < 2; shimmed++) {
        char *src = reserve(3 * HUGE) + HUGE - 2 * PAGE;
        char *dst = reserve(3 * HUGE) + HUGE - 2 * PAGE;
        make_part(src, (struct part){DATA, 2}, 1);
        map_at(src + 2 * PAGE, HUGE, RW);
        CHECK_OK(madvise(src + 2 * PAGE, HUGE, MADV_HUGEPAGE));
        fill(src + 2 * PAGE, HUGE, 2);
        if (smaps_kib(src + 2 * PAGE, "AnonHugePages") != (long)(HUGE / KIB)) {
            test_skip("no transparent huge page to be had");
        }
        make_part(src + 2 * PAGE + HUGE, (struct part){DATA, 2}, 3);
        CHECK_EQ(ask(shimmed, src, size, size, MOVE_TO, dst), (long)dst);
        CHECK_EQ(smaps_kib(dst + 2 * PAGE, "AnonHugePages"), HUGE / KIB);
        CHECK_HOLDS(dst, 2 * PAGE, 1);
        CHECK_HOLDS(dst + 2 * PAGE, HUGE, 2);
        CHECK_HOLDS(dst + 2 * PAGE + HUGE, 2 * PAGE, 3);
        CHECK_EQ(mapped_in(src, size), 0);
        /* Now the range ends inside the huge page. */
        char *cut = reserve(2 * HUGE) + HUGE - 2 * PAGE;
        size_t half = 2 * PAGE + HUGE / 2;
        CHECK_EQ(ask(shimmed, dst, half, half, MOVE_TO, cut), (long)cut);
        CHECK_HOLDS(cut, 2 * PAGE, 1);
        CHECK_HOLDS(cut + 2 * PAGE, HUGE / 2, 2);
        CHECK_HOLDS_FROM(dst + half, HUGE / 2, 2, HUGE / 2);
        CHECK_EQ(mapped_in(dst, size), size - half);
    }
}

/* ---- where the range begins and ends ---- */

static void inside_vmas(void)
{
    static const struct part parts[] = {{DATA, 4}, {DATA, 4}, {DATA, 4}, {DATA, 4}, {DATA, 4}};
    const size_t from = 2 * PAGE;
    const size_t to = 19 * PAGE;
    for (int shimmed = kernel_spans() ? 0 : 1; shimmed < 2; shimmed++) {
        struct row row = make_row(parts, COUNT(parts));
        char *dst = row.dst + from;
        CHECK_EQ(ask(shimmed, row.src + from, to - from, to - from, MOVE_TO, dst), (long)dst);
        for (size_t page = 0; page < row.size; page += PAGE) {
            bool moved = page >= from && page < to;
            char *at = (moved ? row.dst : row.src) + page;
            size_t part = page / PAGE / 4;
            CHECK_HOLDS_FROM(at, PAGE, (unsigned)part + 1, page - offset_of(&row, part));
            if (!moved) {
                CHECK_HOLDS_FROM(row.dst + page, PAGE, MARK, PAGE + page);
            }
        }
        CHECK_EQ(mapped_in(row.src, row.size), row.size - (to - from));
        if (shimmed && can_relocate()) {
            CHECK_EQ(vmas_in(row.dst - PAGE, row.size + 2 * PAGE), 1);
        }
    }
}

static void length_is_rounded(void)
{
    static const struct part parts[] = {{DATA, 2}, {DATA, 2}};
    for (int shimmed = kernel_spans() ? 0 : 1; shimmed < 2; shimmed++) {
        struct row row = make_row(parts, COUNT(parts));
        CHECK_EQ(ask(shimmed, row.src, row.size - 1, row.size - 99, MOVE_TO, row.dst),
                 (long)row.dst);
        check_row(&row, 2, false);
    }
}

static void gaps(void)
{
    static const struct part parts[] = {{DATA, 3}, {GAP, 2},    {DATA, 1},         {READ_ONLY, 2},
                                        {GAP, 70}, {SHARED, 1}, {PRIVATE_FILE, 2}, {DATA, 2}};
    static const struct part one[] = {{DATA, 3}, {GAP, 9}};
    static const struct part more[] = {{DATA, 3}, {GAP, 1}, {EMPTY, 2}, {DATA, 1}, {GAP, 3}};
    struct row row = move_row(parts, COUNT(parts), MOVE_TO);
    CHECK_EQ(vmas_in(row.dst - PAGE, row.size + 2 * PAGE), can_relocate() ? 6 : 10);
    move_row(one, COUNT(one), MOVE_TO);
    move_row(more, COUNT(more), MOVE_TO);
    move_row(more, COUNT(more), MOVE_TO | MREMAP_DONTUNMAP);
}

/* Only what the pieces cover is replaced: something in a gap may even be sealed. */
static void sealed_in_a_gap(void)
{
    static const struct part parts[] = {{DATA, 2}, {GAP, 2}, {DATA, 2}};
    for (int shimmed = kernel_spans() ? 0 : 1; shimmed < 2; shimmed++) {
        struct row row = make_row(parts, COUNT(parts));
        seal(row.dst + 2 * PAGE, 2 * PAGE);
        CHECK_EQ(ask_row(shimmed, &row, MOVE_TO), (long)row.dst);
        check_row(&row, COUNT(parts), false);
    }
}

static void dontunmap(void)
{
    struct row row = move_row(many_pages(), 20, MOVE_TO | MREMAP_DONTUNMAP);
    CHECK_EQ(vmas_in(row.dst - PAGE, row.size + 2 * PAGE), can_relocate() ? 1 : 22);
    /* What stayed is memory like any other. */
    fill(row.src, row.size, 7);
    CHECK_HOLDS(row.src, row.size, 7);
    check_part(row.dst, row.parts[0], 1);
}

/* ---- the flags ---- */

static void relocate_flag(void)
{
    static const struct part parts[] = {
        {DATA, 2}, {SHARED, 1}, {DATA, 3}, {DATA, 2}, {READ_ONLY, 1}};
    struct row row = move_row(parts, COUNT(parts), MOVE_TO | RELOC);
    CHECK_EQ(vmas_in(row.dst - PAGE, row.size + 2 * PAGE), can_relocate() ? 5 : 7);
}

static void must(void)
{
    static const struct part gapped[] = {{DATA, 2}, {EMPTY, 1}, {GAP, 2}, {READ_ONLY, 3}};
    need_relocation();
    struct row row = move_row(many_pages(), 9, MOVE_TO | MUST);
    CHECK_EQ(vmas_in(row.dst - PAGE, row.size + 2 * PAGE), 1);
    row = move_row(many_pages(), 9, MOVE_TO | MUST | MREMAP_DONTUNMAP);
    CHECK_EQ(vmas_in(row.dst - PAGE, row.size + 2 * PAGE), 1);
    move_row(gapped, COUNT(gapped), MOVE_TO | MUST);
}

/* ---- the option and the statistics ---- */

static void switched_off(void)
{
    struct row plain = make_row(many_pages(), 20);
    struct row row = make_row(many_pages(), 20);
    long want = ask_row(false, &plain, MOVE_TO);
    CHECK_EQ(want > 0, kernel_spans());
    struct remap_stats before = stats_now();
    CHECK_EQ(ask_row(true, &row, MOVE_TO), want > 0 ? (long)row.dst : want);
    struct remap_stats after = stats_now();
    size_t moved = want > 0 ? row.count : 0;
    if (want > 0) {
        check_row(&plain, moved, false);
        check_row(&row, moved, false);
        CHECK_EQ(vmas_in(row.dst, row.size), vmas_in(plain.dst, plain.size));
    } else {
        CHECK_EQ(vmas_in(row.src, row.size), row.count);
        check_source(&row);
    }
    CHECK_EQ(after.counters.calls - before.counters.calls, 1);
    CHECK_EQ(after.counters.spans, 0);
    CHECK_EQ(after.counters.span_vmas, 0);
    CHECK_EQ(after.counters.relocated, 0);
}

static uint64_t sum_of_outcomes(const struct remap_stats *s)
{
    uint64_t sum = 0;
    for (int i = 0; i < REMAP_OUTCOME_COUNT; i++) {
        sum += s->counters.outcomes[i];
    }
    return sum;
}

static enum remap_outcome outcome_of_tier(void)
{
    static const enum remap_outcome outcomes[] = {
        [REMAP_TIER_NONE] = REMAP_OUTCOME_PLAIN,
        [REMAP_TIER_NATIVE] = REMAP_OUTCOME_NATIVE,
        [REMAP_TIER_UFFD] = REMAP_OUTCOME_UFFD,
        [REMAP_TIER_COPY] = REMAP_OUTCOME_COPY,
    };
    return outcomes[features_now().tier];
}

#define ADDED(field) (after.counters.field - before.counters.field)

/* One call is one call, however many VMAs it moves. */
static void statistics(void)
{
    static const struct part parts[] = {{DATA, 2}, {DATA, 1},   {DATA, 3},
                                        {DATA, 1}, {SHARED, 2}, {READ_ONLY, 1}};
    static const struct part files[] = {{SHARED, 2}, {MEMFD, 1}, {PRIVATE_FILE, 2}};
    static const struct part gap[] = {{GAP, 1}, {DATA, 1}, {DATA, 1}};
    need_relocation();
    struct row row = make_row(parts, COUNT(parts));
    char *dst = reserve(row.size);
    struct remap_stats before = stats_now();
    CHECK_EQ(ask(true, row.src, row.size, row.size, MOVE_TO, dst), (long)dst);
    struct remap_stats after = stats_now();
    CHECK_EQ(ADDED(calls), 1);
    CHECK_EQ(ADDED(outcomes[outcome_of_tier()]), 1);
    CHECK_EQ(ADDED(reasons[REMAP_REASON_NONE]), 1);
    CHECK_EQ(ADDED(moves), 1);
    CHECK_EQ(ADDED(relocated), 1);
    CHECK_EQ(ADDED(spans), 1);
    CHECK_EQ(ADDED(span_vmas), COUNT(parts));
    CHECK_EQ(ADDED(merged_left), 3);
    CHECK_EQ(ADDED(merged_right), 0);
    CHECK_EQ(ADDED(saved), 3);
    CHECK_EQ(ADDED(pages_moved) + ADDED(pages_copied), 8);
    CHECK_EQ(ADDED(tier_moves[features_now().tier]), 1);

    row = make_row(files, COUNT(files));
    before = stats_now();
    CHECK_EQ(ask_row(true, &row, MOVE_TO), (long)row.dst);
    after = stats_now();
    CHECK_EQ(ADDED(calls), 1);
    CHECK_EQ(ADDED(outcomes[REMAP_OUTCOME_PLAIN]) + ADDED(outcomes[REMAP_OUTCOME_PASSED]), 1);
    CHECK_EQ(ADDED(moves), 1);
    CHECK_EQ(ADDED(relocated), 0);
    CHECK_EQ(ADDED(saved), 0);

    row = make_row(gap, COUNT(gap));
    before = stats_now();
    CHECK_EQ(ask_row(true, &row, MOVE_TO), -EFAULT);
    after = stats_now();
    CHECK_EQ(ADDED(calls), 1);
    CHECK_EQ(ADDED(outcomes[REMAP_OUTCOME_FAILED]), 1);
    CHECK_EQ(ADDED(call_errnos[EFAULT]), 1);
    CHECK_EQ(ADDED(moves), 0);
    CHECK_EQ(ADDED(spans), 0);

    row = make_row(parts, 1);
    before = after;
    CHECK_EQ(ask_row(true, &row, MOVE_TO), (long)row.dst);
    after = stats_now();
    CHECK_EQ(ADDED(relocated), 1);
    CHECK_EQ(ADDED(spans), 0);
    CHECK_EQ(after.counters.calls, sum_of_outcomes(&after));
}

/* ---- beside other threads ---- */

enum { MOVERS = 3, ROUNDS = 200 };
static const struct part own_row[] = {{DATA, 3}, {READ_ONLY, 2}, {SHARED, 1}, {DATA, 9}};

/* The first moves single VMAs, the others rows. */
struct mover {
    pthread_t thread;
    bool single;
    struct row row;
};

static void *move_to_and_fro(void *argument)
{
    const struct mover *m = argument;
    char *slot[2] = {m->row.src, m->row.dst};
    size_t size = m->single ? 3 * PAGE : m->row.size;
    for (unsigned i = 0; i < 2 * ROUNDS; i++) {
        char *to = slot[(i + 1) % 2];
        CHECK_EQ(ask(true, slot[i % 2], size, size, MOVE_TO, to), (long)to);
        for (size_t part = 0; part < (m->single ? 1 : m->row.count); part++) {
            CHECK_HOLDS(to + offset_of(&m->row, part), own_row[part].pages * PAGE,
                        (unsigned)part + 1);
        }
    }
    return NULL;
}

static void beside_movers(void)
{
    struct mover movers[MOVERS];
    struct remap_stats before = stats_now();
    for (int i = 0; i < MOVERS; i++) {
        movers[i].single = i == 0;
        movers[i].row = make_row(own_row, COUNT(own_row));
    }
    for (int i = 0; i < MOVERS; i++) {
        CHECK_EQ(pthread_create(&movers[i].thread, NULL, move_to_and_fro, &movers[i]), 0);
    }
    for (int i = 0; i < MOVERS; i++) {
        CHECK_EQ(pthread_join(movers[i].thread, NULL), 0);
    }
    struct remap_stats after = stats_now();
    CHECK_EQ(ADDED(calls), 2 * ROUNDS * MOVERS);
    CHECK_EQ(ADDED(moves), 2 * ROUNDS * MOVERS);
    for (int i = 0; i < MOVERS; i++) {
        for (size_t part = 0; part < COUNT(own_row); part++) {
            check_part(movers[i].row.src + offset_of(&movers[i].row, part), own_row[part],
                       (unsigned)part + 1);
        }
    }
}

static const struct test_case cases[] = {
    {"hundred", hundred, NULL},
    {"thousand", thousand, NULL},
    {"merges_by_kind", merges_by_kind, NULL},
    {"mixed", mixed, NULL},
    {"files_only", files_only, NULL},
    {"unfaulted", unfaulted, NULL},
    {"huge_pages_inside", huge_pages_inside, NULL},
    {"inside_vmas", inside_vmas, NULL},
    {"length_is_rounded", length_is_rounded, NULL},
    {"gaps", gaps, NULL},
    {"sealed_in_a_gap", sealed_in_a_gap, NULL},
    {"dontunmap", dontunmap, NULL},
    {"relocate_flag", relocate_flag, NULL},
    {"must", must, NULL},
    {"switched_off", switched_off, "REMAP_MULTI=off"},
    {"statistics", statistics, NULL},
    {"beside_movers", beside_movers, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, COUNT(cases));
}
