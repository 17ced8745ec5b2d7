/* SPDX-License-Identifier: MIT */
/*
 * The layout of the statistics file, pinned. If this no longer compiles the layout has changed:
 * raise REMAP_STATS_VERSION_MAJOR (a field moved or went) or _MINOR (something was added in a
 * reserved place), then pin the new one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "remap.h"

#define PIN(type, field, offset, bytes)                                                            \
    _Static_assert(offsetof(struct type, field) == (offset), #type "." #field " has moved");       \
    _Static_assert(sizeof(((struct type *)0)->field) == (bytes), #type "." #field " has changed");
PIN(remap_stats, magic, 0, 8)
PIN(remap_stats, version_major, 8, 4)
PIN(remap_stats, version_minor, 12, 4)
PIN(remap_stats, size, 16, 4)
PIN(remap_stats, ready, 20, 4)
PIN(remap_stats, identity, 24, 256)
PIN(remap_stats, counters, 280, 3224)
PIN(remap_stats, ways, 3504, 128)
PIN(remap_stats_identity, pid, 0, 4)
PIN(remap_stats_identity, uid, 4, 4)
PIN(remap_stats_identity, start_time, 8, 8)
PIN(remap_stats_identity, started_ns, 16, 8)
PIN(remap_stats_identity, run_id, 24, 8)
PIN(remap_stats_identity, tier, 32, 4)
PIN(remap_stats_identity, policy, 36, 4)
PIN(remap_stats_identity, min_bytes, 40, 8)
PIN(remap_stats_identity, max_bytes, 48, 8)
PIN(remap_stats_identity, comm, 56, 32)
PIN(remap_stats_identity, kernel, 88, 64)
PIN(remap_stats_identity, library, 152, 32)
PIN(remap_stats_identity, features, 184, 64)
PIN(remap_stats_counters, calls, 0, 8)
PIN(remap_stats_counters, outcomes, 8, 64)
PIN(remap_stats_counters, reasons, 72, 256)
PIN(remap_stats_counters, moves, 328, 8)
PIN(remap_stats_counters, relocated, 336, 8)
PIN(remap_stats_counters, merged_left, 344, 8)
PIN(remap_stats_counters, merged_right, 352, 8)
PIN(remap_stats_counters, saved, 360, 8)
PIN(remap_stats_counters, tier_moves, 368, 64)
PIN(remap_stats_counters, tier_bytes, 432, 64)
PIN(remap_stats_counters, tier_ns, 496, 64)
PIN(remap_stats_counters, pages_moved, 560, 8)
PIN(remap_stats_counters, steps, 568, 128)
PIN(remap_stats_counters, step_errnos, 696, 1088)
PIN(remap_stats_counters, call_errnos, 1784, 1088)
PIN(remap_stats_counters, rescued, 2872, 8)
PIN(remap_stats_counters, histogram, 2880, 320)
PIN(remap_stats_counters, pages_copied, 3200, 8)
PIN(remap_stats_counters, spans, 3208, 8)
PIN(remap_stats_counters, span_vmas, 3216, 8)
PIN(remap_stats_feature, answer, 0, 2)
PIN(remap_stats_feature, error, 2, 2)
PIN(remap_stats_way, seen, 0, 2)
PIN(remap_stats_way, why, 2, 2)
PIN(remap_stats_way, error, 4, 2)
PIN(remap_stats_way, calls, 8, 8)
PIN(remap_stats_identity, keep, 248, 4)
PIN(remap_stats_identity, sites_offset, 252, 4)
PIN(remap_stats_sites, capacity, 0, 4)
PIN(remap_stats_sites, entry_size, 4, 4)
PIN(remap_stats_sites, depth, 8, 4)
PIN(remap_stats_sites, dropped, 16, 8)
PIN(remap_stats_site, key, 0, 8)
PIN(remap_stats_site, moves, 8, 8)
PIN(remap_stats_site, relocated, 16, 8)
PIN(remap_stats_site, merged, 24, 8)
PIN(remap_stats_site, bytes, 32, 8)
PIN(remap_stats_site, ns, 40, 8)
PIN(remap_stats_site, ready, 48, 4)
PIN(remap_stats_site, way, 52, 2)
PIN(remap_stats_site, depth, 54, 2)
PIN(remap_stats_site, frames, 56, 256)
_Static_assert(sizeof(struct remap_stats) == 3632, "the file has another size");
_Static_assert(sizeof(struct remap_stats_identity) == 256, "the identity has another size");
_Static_assert(sizeof(struct remap_stats_counters) == 3224, "the counters have another size");
_Static_assert(sizeof(struct remap_stats_way) == 16, "a way has another size");
_Static_assert(sizeof(struct remap_stats_sites) == 24, "the slots have moved");
_Static_assert(sizeof(struct remap_stats_site) == 312, "a site has another size");
_Static_assert(sizeof(struct remap_stats_feature) == 4, "an answer has another size");
_Static_assert(REMAP_STATS_VERSION_MAJOR == 1 && REMAP_STATS_VERSION_MINOR == 2,
               "a new version: pin its layout here");

#define KEY_(id, key, help) key,

/* The numbers that files carry: an identifier never changes its value, new ones go to the end. */
static void values_stay(void **state)
{
    (void)state;
    assert_int_equal(REMAP_OUTCOME_PASSED, 0);
    assert_int_equal(REMAP_OUTCOME_UFFD, 3);
    assert_int_equal(REMAP_OUTCOME_FAILED, 5);
    assert_int_equal(REMAP_OUTCOME_COPY, 6);
    assert_int_equal(REMAP_REASON_NONE, 0);
    assert_int_equal(REMAP_REASON_TOO_BIG, 9);
    assert_int_equal(REMAP_REASON_MUST, 23);
    assert_int_equal(REMAP_STEP_DESCRIPTOR, 0);
    assert_int_equal(REMAP_STEP_MOVE, 8);
    assert_int_equal(REMAP_STEP_COPY, 12);
    assert_int_equal(REMAP_TIER_NONE, 0);
    assert_int_equal(REMAP_TIER_UFFD, 2);
    assert_int_equal(REMAP_TIER_COPY, 3);
    assert_int_equal(REMAP_FEATURE_UFFDIO_MOVE, 6);
    assert_int_equal(REMAP_FEATURE_UFFDIO_COPY, 10);
    assert_int_equal(REMAP_ANSWER_BROKEN, 3);
    assert_int_equal(REMAP_WAY_REALLOC, 2);
    assert_int_equal(REMAP_WAY_TRAP, 3);
    assert_int_equal(REMAP_WHY_SIGNAL, 12);
}

static void enums_fit(void **state)
{
    (void)state;
    assert_in_range(REMAP_OUTCOME_COUNT, 1, REMAP_STATS_OUTCOMES);
    assert_in_range(REMAP_REASON_COUNT, 1, REMAP_STATS_REASONS);
    assert_in_range(REMAP_STEP_COUNT, 1, REMAP_STATS_STEPS);
    assert_in_range(REMAP_TIER_COUNT, 1, REMAP_STATS_TIERS);
    assert_in_range(REMAP_FEATURE_COUNT, 1, REMAP_STATS_FEATURES);
    assert_in_range(REMAP_WAY_COUNT, 1, REMAP_STATS_WAYS);
    assert_int_equal(strlen(REMAP_STATS_MAGIC), 8);
}

static void keys_are_keys(const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(strspn(keys[i], "abcdefghijklmnopqrstuvwxyz_0123456789"), strlen(keys[i]));
        assert_int_not_equal(strlen(keys[i]), 0);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(keys[i], keys[j]);
        }
    }
}

static void keys_are_stable_names(void **state)
{
    static const char *const outcomes[] = {REMAP_OUTCOMES(KEY_)};
    static const char *const reasons[] = {REMAP_REASONS(KEY_)};
    static const char *const steps[] = {REMAP_STEPS(KEY_)};
    static const char *const features[] = {REMAP_FEATURES(KEY_)};
    (void)state;
    keys_are_keys(outcomes, REMAP_OUTCOME_COUNT);
    keys_are_keys(reasons, REMAP_REASON_COUNT);
    keys_are_keys(steps, REMAP_STEP_COUNT);
    keys_are_keys(features, REMAP_FEATURE_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_stay),
        cmocka_unit_test(enums_fit),
        cmocka_unit_test(keys_are_stable_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
