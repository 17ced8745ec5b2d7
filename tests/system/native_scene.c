/* SPDX-License-Identifier: MIT */
/* Scenes of the native tier under the double. */
#include "native_scene.h"

#include <errno.h>
#include <sys/syscall.h>

/* ---- what the double has seen since ---- */

static size_t mark;

void watch(void)
{
    mark = double_count();
}

static size_t calls_with(unsigned long flags, bool any)
{
    size_t n = 0;
    for (size_t i = mark; i < double_count(); i++) {
        const struct double_call *c = double_call(i);
        if (c->number == SYS_mremap && (any || (c->flags & flags) != 0)) {
            n++;
        }
    }
    return n;
}

size_t flagged(void)
{
    return calls_with(RELOC | MUST, false);
}

size_t unflagged(void)
{
    return calls_with(0, true) - flagged();
}

void saw(size_t nth, const void *src, size_t old_size, size_t new_size, int flags, const void *dst)
{
    const struct double_call *c = double_call(mark + nth);
    CHECK_EQ(c->number, SYS_mremap);
    CHECK_EQ(c->addr, (uintptr_t)src);
    CHECK_EQ(c->old_size, old_size);
    CHECK_EQ(c->new_size, new_size);
    CHECK_EQ(c->flags, flags);
    CHECK_EQ(c->dst, (uintptr_t)dst);
}

void saw_calls(size_t count)
{
    CHECK_EQ(double_count() - mark, count);
}

/* ---- scenes ---- */

struct scene scene(void)
{
    struct scene s = {.row = reserve(4 * LEN), .src = piece(LEN, 1)};
    s.dst = map_at(s.row, LEN, RW) + LEN;
    fill(s.row, LEN, 2);
    return s;
}

void check_moved(const struct scene *s, const char *got)
{
    CHECK_PTR(got, s->dst);
    CHECK_HOLDS(s->row, LEN, 2);
    CHECK_HOLDS(s->dst, LEN, 1);
    CHECK_EQ(mapped_in(s->src, LEN), 0);
}

void check_not_moved(const struct scene *s)
{
    CHECK_HOLDS(s->row, LEN, 2);
    CHECK_HOLDS(s->src, LEN, 1);
}

bool move_merges(int flags)
{
    struct scene s = scene();
    check_moved(&s, shim_mremap(s.src, LEN, LEN, MOVE_TO | flags, s.dst));
    return vmas_in(s.row, 2 * LEN) == 1;
}

char *shared_piece(void)
{
    char *src = reserve(2 * LEN);
    CHECK_PTR(mmap(src, LEN, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0), src);
    fill(src, LEN, 1);
    return src;
}

uint64_t outcomes(enum remap_outcome outcome)
{
    return stats_now().counters.outcomes[outcome];
}

int answer_to(enum remap_feature feature)
{
    return features_now().features[feature].answer;
}

bool has_uffd(void)
{
    return answer_to(REMAP_FEATURE_UFFDIO_MOVE) == REMAP_ANSWER_PRESENT &&
           answer_to(REMAP_FEATURE_PAGEMAP_SCAN) == REMAP_ANSWER_PRESENT;
}

void begin(void)
{
    under_double();
    if (answer_to(REMAP_FEATURE_PLAIN_MERGES) == REMAP_ANSWER_PRESENT) {
        test_skip("plain moves merge by themselves here");
    }
}

void begin_native(void)
{
    begin();
    CHECK_EQ(features_now().tier, REMAP_TIER_NATIVE);
    watch();
}

void check_alive(void)
{
    for (int i = 0; i < 2; i++) {
        watch();
        CHECK(move_merges(0));
        saw_calls(1);
        CHECK_EQ(flagged(), 1);
    }
}

void check_unused(void)
{
    bool uffd = features_now().tier == REMAP_TIER_UFFD ||
                (features_now().tier == REMAP_TIER_NATIVE && has_uffd());
    uint64_t before = relocated_now();
    watch();
    for (int i = 0; i < 2; i++) {
        bool merged = move_merges(0);
        CHECK(merged || !uffd);
    }
    CHECK_EQ(flagged(), 0);
    if (uffd) {
        CHECK_EQ(relocated_now() - before, 2);
    }
}

bool check_demand(void)
{
    struct scene s = scene();
    errno = 0;
    char *got = shim_mremap(s.src, LEN, LEN, MOVE_TO | MUST, s.dst);
    if (got == MAP_FAILED) {
        CHECK_EQ(errno, EFAULT);
        CHECK(!has_uffd());
        check_not_moved(&s);
        CHECK_EQ(mapped_in(s.dst, LEN), 0);
        return false;
    }
    check_moved(&s, got);
    CHECK_EQ(vmas_in(s.row, 2 * LEN), 1);
    return true;
}
