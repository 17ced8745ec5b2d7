/* SPDX-License-Identifier: MIT */
/* probe_known_bugs(): which kernels are refused by name. And probe_run(): it leaves nothing. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "probe.h"

struct row {
    const char *release;
    bool swap;
    bool native_refused;
    bool move_refused;
    bool no_huge;
    bool no_split;
};

static const struct row rows[] = {
    /* linux-next while it carried the broken series */
    {"6.16.0-rc2-next-20250616", false, true, false, true, true},
    {"6.16.0-rc1-next-20250612-x", true, true, false, true, true},
    /* a vendor kernel with the series */
    {"6.12.63-vendor", false, false, false, false, true},
    /* UFFDIO_MOVE before its fixes */
    {"6.8.0", false, false, false, true, true},
    {"6.8.0-41-generic", true, false, true, true, true},
    {"6.12.36", true, false, true, true, true},
    {"6.12.36", false, false, false, true, true},
    {"6.12.37+deb13-amd64", true, false, false, true, true},
    {"6.12.43", true, false, false, false, true},
    {"6.13.1", true, false, true, true, true},
    {"6.15.9", true, false, true, true, true},
    {"6.17.13+deb14-cloud-amd64", true, false, false, false, true},
    {"6.18.0", true, false, false, false, false},
    {"6.18.5-arch1-1", true, false, false, false, false},
    {"7.3.4", true, false, false, false, false},
};

static void by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *w = &rows[i];
        struct probe_result r = {.tier_why = ""};
        for (int f = 0; f < REMAP_FEATURE_COUNT; f++) {
            r.features[f] = (struct probe_answer){.answer = REMAP_ANSWER_PRESENT, .why = ""};
        }
        probe_known_bugs(&r, w->release, w->swap);
        bool native = r.features[REMAP_FEATURE_RELOCATE].answer == REMAP_ANSWER_BROKEN;
        bool must = r.features[REMAP_FEATURE_MUST_RELOCATE].answer == REMAP_ANSWER_BROKEN;
        bool move = r.features[REMAP_FEATURE_UFFDIO_MOVE].answer == REMAP_ANSWER_BROKEN;
        if (native != w->native_refused || must != native || move != w->move_refused ||
            r.no_huge != w->no_huge || r.no_split != w->no_split) {
            print_error("%s, swap %d: native %d must %d move %d no_huge %d no_split %d\n",
                        w->release, w->swap, native, must, move, r.no_huge, r.no_split);
            fail();
        }
        if (native) {
            assert_true(strlen(r.features[REMAP_FEATURE_RELOCATE].why) > 0);
        }
        if (move) {
            assert_true(strlen(r.features[REMAP_FEATURE_UFFDIO_MOVE].why) > 0);
        }
    }
}

/* What is absent is not turned into broken; odd names do no harm. */
static void absent_stays_absent(void **state)
{
    static const char *const names[] = {
        "", "6", "6.", "x.y.z", "6.16.0-rc2-next-20250616", "999999999999999999999.1.1"};
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct probe_result r = {.tier_why = ""};
        for (int f = 0; f < REMAP_FEATURE_COUNT; f++) {
            r.features[f] = (struct probe_answer){REMAP_ANSWER_ABSENT, EINVAL, ""};
        }
        probe_known_bugs(&r, names[i], true);
        for (int f = 0; f < REMAP_FEATURE_COUNT; f++) {
            assert_int_equal(r.features[f].answer, REMAP_ANSWER_ABSENT);
        }
    }
}

static size_t entries(const char *path)
{
    size_t n = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

static size_t lines(const char *path)
{
    char line[1024];
    size_t n = 0;
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        n++;
    }
    fclose(file);
    return n;
}

static void leaves_nothing(void **state)
{
    struct remap_options options;
    struct probe_result r;
    (void)state;
    options_parse(&options, NULL);
    probe_run(&r, &options);
    size_t descriptors = entries("/proc/self/fd");
    size_t vmas = lines("/proc/self/maps");
    for (int i = 0; i < 20; i++) {
        errno = 4711;
        probe_run(&r, &options);
        assert_int_equal(errno, 4711);
    }
    assert_int_equal(entries("/proc/self/fd"), descriptors);
    assert_int_equal(lines("/proc/self/maps"), vmas);
    assert_true(strlen(r.kernel) > 0);
    for (int f = 0; f < REMAP_FEATURE_COUNT; f++) {
        assert_non_null(r.features[f].why);
        assert_in_range(r.features[f].answer, REMAP_ANSWER_UNKNOWN, REMAP_ANSWER_BROKEN);
        if (r.features[f].answer == REMAP_ANSWER_PRESENT) {
            assert_int_equal(r.features[f].error, 0);
        }
    }
}

static void obeys_the_engine_list(void **state)
{
    struct remap_options options;
    struct probe_result r;
    char none[] = "REMAP_ENGINE=none";
    char *env[] = {none, NULL};
    (void)state;
    options_parse(&options, env);
    probe_run(&r, &options);
    assert_int_equal(r.tier, REMAP_TIER_NONE);
    assert_int_equal(r.own_tier, REMAP_TIER_NONE);
    assert_true(strlen(r.tier_why) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_name),
        cmocka_unit_test(absent_stays_absent),
        cmocka_unit_test(leaves_nothing),
        cmocka_unit_test(obeys_the_engine_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
