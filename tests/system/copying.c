/* SPDX-License-Identifier: MIT */
#include "copying.h"

#include <string.h>

struct remap_stats counted_before;

void need_copy(void)
{
    struct remap_features f = features_now();
    const struct remap_stats_feature *copy = &f.features[REMAP_FEATURE_UFFDIO_COPY];
    const struct remap_stats_feature *keep = &f.features[REMAP_FEATURE_DONTUNMAP];
    if (f.features[REMAP_FEATURE_PLAIN_MERGES].answer == REMAP_ANSWER_PRESENT) {
        test_skip("plain moves merge by themselves on this kernel");
    }
    if (copy->answer == REMAP_ANSWER_ABSENT) {
        test_skip("userfaultfd is refused here: %s", strerror(copy->error));
    }
    if (keep->answer == REMAP_ANSWER_ABSENT) {
        test_skip("no MREMAP_DONTUNMAP (needs Linux 5.7): %s", strerror(keep->error));
    }
    CHECK_EQ(f.tier, REMAP_TIER_COPY);
}

char *beside(size_t size)
{
    char *area = map_at(reserve(size + PAGE), PAGE, RW);
    fill(area, PAGE, 99);
    return area + PAGE;
}

void begin_move(void)
{
    need_copy();
    counted_before = stats_now();
}

void check_copied(size_t pages)
{
    CHECK_EQ(ADDED(calls), 1);
    CHECK_EQ(ADDED(outcomes[REMAP_OUTCOME_COPY]), 1);
    CHECK_EQ(ADDED(tier_moves[REMAP_TIER_COPY]), 1);
    CHECK_EQ(ADDED(relocated), 1);
    CHECK_EQ(ADDED(pages_copied), pages);
    CHECK_EQ(ADDED(pages_moved), 0);
    CHECK_EQ(ADDED(rescued), 0);
}

char *move_and_merge(char *src, size_t old_size, size_t new_size, int flags, size_t pages)
{
    char *dst = beside(new_size);
    begin_move();
    CHECK_PTR(mremap(src, old_size, new_size, MOVE_TO | flags, dst), dst);
    check_copied(pages);
    CHECK_HOLDS(dst - PAGE, PAGE, 99);
    CHECK_EQ(vmas_in(dst - PAGE, new_size + PAGE), 1);
    CHECK_EQ(mapped_in(src, old_size), (flags & MREMAP_DONTUNMAP) ? old_size : 0);
    return dst;
}
