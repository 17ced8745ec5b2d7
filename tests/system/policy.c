/* SPDX-License-Identifier: MIT */
/* What the environment says: policies, tiers, size bounds, program names, bad values. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib.h"

/* Moves a filled piece beside a filled neighbour; says whether the two merged. */
static bool move_merges(size_t populated, size_t size, int flags)
{
    char *area = map_at(reserve(size + PAGE), PAGE, RW);
    fill(area, PAGE, 1);
    char *src = island(size);
    fill(src, populated, 2);
    char *dst = area + PAGE;
    CHECK_PTR(mremap(src, size, size, MOVE_TO | flags, dst), dst);
    CHECK_HOLDS(area, PAGE, 1);
    CHECK_HOLDS(dst, populated, 2);
    CHECK_EQ(mapped_in(src, size), 0);
    return vmas_in(area, size + PAGE) == 1;
}

static uint64_t reason(enum remap_reason which)
{
    return stats_now().counters.reasons[which];
}

/* Whether a plain move merges by itself (one day), so that nothing can be told from merging. */
static bool plain_merges(void)
{
    char *area = map_at(reserve(3 * PAGE), PAGE, RW);
    fill(area, PAGE, 1);
    char *src = piece(PAGE, 2);
    CHECK_EQ(raw_mremap(src, PAGE, PAGE, MOVE_TO, area + PAGE), (long)(area + PAGE));
    return vmas_in(area, 2 * PAGE) == 1;
}

/* Inert: as if the library were not there; glibc and today's kernels refuse the flags. */
static void check_inert(void)
{
    char *src = piece(4 * PAGE, 1);
    char *dst = reserve(8 * PAGE);
    if (raw_mremap(src, 4 * PAGE, 4 * PAGE, MOVE_TO | RELOC, dst) == -EINVAL) {
        CHECK_ERRNO(mremap(src, 4 * PAGE, 4 * PAGE, MOVE_TO | RELOC, dst), EINVAL);
        CHECK_ERRNO(mremap(src, 4 * PAGE, 4 * PAGE, MOVE_TO | MUST, dst), EINVAL);
        CHECK_ERRNO(syscall(SYS_mremap, src, 4 * PAGE, 4 * PAGE, MOVE_TO | MUST, dst), EINVAL);
        CHECK_HOLDS(src, 4 * PAGE, 1);
    }
    CHECK(move_merges(16 * PAGE, 16 * PAGE, 0) == plain_merges());
    CHECK_EQ(relocated_now(), 0);
}

static void policy_off(void)
{
    size_t descriptors = count_descriptors();
    check_inert();
    CHECK_EQ(stats_now().counters.calls, 0);
    CHECK_EQ(count_descriptors() - descriptors, 1); /* the maps of this test */
    struct remap_features features = features_now();
    CHECK_EQ(features.policy, 0);
    CHECK_EQ(features.active, 0);
}

static void policy_observe(void)
{
    check_inert();
    struct remap_stats s = stats_now();
    CHECK_GE(s.counters.calls, 1);
    CHECK_GE(s.counters.moves, 1);
    CHECK_GE(s.counters.reasons[REMAP_REASON_POLICY], 1);
    CHECK_EQ(s.counters.saved, 0);
}

static void policy_auto(void)
{
    need_relocation();
    CHECK(move_merges(MIB, MIB, 0));
    CHECK_EQ(relocated_now(), 1);
    struct remap_features features = features_now();
    CHECK_EQ(features.policy, 2);
    CHECK_EQ(features.active, 1);
    CHECK_EQ(features.features[REMAP_FEATURE_DONTUNMAP].answer, REMAP_ANSWER_PRESENT);
}

static void engine_none(void)
{
    char *src = piece(4 * PAGE, 1);
    char *dst = reserve(8 * PAGE);
    CHECK_ERRNO(mremap(src, 4 * PAGE, 4 * PAGE, MOVE_TO | MUST, dst), EFAULT);
    CHECK_EQ(mapped_in(dst, 4 * PAGE), 0);
    CHECK_HOLDS(src, 4 * PAGE, 1);
    CHECK_PTR(mremap(src, 4 * PAGE, 4 * PAGE, MOVE_TO | RELOC, dst), dst);
    CHECK_HOLDS(dst, 4 * PAGE, 1);
    CHECK(move_merges(16 * PAGE, 16 * PAGE, 0) == plain_merges());
    CHECK_EQ(relocated_now(), 0);
    struct remap_features features = features_now();
    CHECK_EQ(features.tier, REMAP_TIER_NONE);
}

static void engine_uffd(void)
{
    struct remap_features features = features_now();
    if (features.features[REMAP_FEATURE_UFFDIO_MOVE].answer != REMAP_ANSWER_PRESENT) {
        test_skip("no UFFDIO_MOVE here (Linux 6.8)");
    }
    CHECK(move_merges(16 * PAGE, 16 * PAGE, 0));
    CHECK_EQ(stats_now().counters.outcomes[REMAP_OUTCOME_UFFD], 1);
    CHECK_EQ(stats_now().counters.tier_moves[REMAP_TIER_UFFD], 1);
}

/* The bound is on populated memory, and on nothing that the program asked for by a flag. */
static void max_bytes(void)
{
    need_relocation();
    CHECK(!move_merges(2 * MIB, 2 * MIB, 0) || plain_merges());
    CHECK_EQ(reason(REMAP_REASON_TOO_BIG), 1);
    CHECK_EQ(relocated_now(), 0);
    CHECK(move_merges(MIB, MIB, 0));
    CHECK(move_merges(64 * KIB, 32 * MIB, 0));
    CHECK_EQ(reason(REMAP_REASON_TOO_BIG), 1);
    CHECK_EQ(relocated_now(), 2);
    CHECK(move_merges(2 * MIB, 2 * MIB, MUST));
    CHECK(move_merges(2 * MIB, 2 * MIB, RELOC));
    CHECK_EQ(relocated_now(), 4);
}

static void min_bytes(void)
{
    need_relocation();
    CHECK(!move_merges(16 * KIB, 16 * KIB, 0) || plain_merges());
    CHECK_EQ(reason(REMAP_REASON_TOO_SMALL), 1);
    CHECK(move_merges(64 * KIB, 64 * KIB, 0));
    CHECK_EQ(reason(REMAP_REASON_TOO_SMALL), 1);
    CHECK_EQ(relocated_now(), 1);
    CHECK(move_merges(16 * KIB, 16 * KIB, MUST));
}

static void always_ignores_bounds(void)
{
    need_relocation();
    CHECK(move_merges(2 * MIB, 2 * MIB, 0));
    CHECK(move_merges(PAGE, PAGE, 0));
    CHECK_EQ(relocated_now(), 2);
}

static void exe_other(void)
{
    check_inert();
    CHECK_EQ(stats_now().counters.calls, 0);
}

static void exe_ours(void)
{
    need_relocation();
    CHECK(move_merges(16 * PAGE, 16 * PAGE, 0));
}

/* Bad values: one warning each, which names the variable, the value and what is allowed. */
static void bad_values(void)
{
    if (!getenv("REMAP_LOG_FILE")) {
        char dir[256];
        char path[300];
        temp_dir(dir, sizeof(dir));
        snprintf(path, sizeof(path), "%s/log", dir);
        setenv("REMAP_LOG_FILE", path, 1);
        execl("/proc/self/exe", "policy", test_name, (char *)NULL);
        test_fail(__FILE__, __LINE__, "exec");
    }
    need_relocation();
    CHECK(move_merges(16 * PAGE, 16 * PAGE, 0)); /* the default: auto */
    CHECK(move_merges(16 * PAGE, 16 * PAGE, 0));
    char path[300];
    static char text[8192];
    snprintf(path, sizeof(path), "%s", getenv("REMAP_LOG_FILE"));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK_OK(fd);
    CHECK(read(fd, text, sizeof(text) - 1) > 0);
    const char *first = strstr(text, "REMAP_POLICY");
    CHECK(first != NULL);
    CHECK(strstr(first + 1, "REMAP_POLICY") == NULL);
    CHECK(strstr(text, "sometimes") != NULL);
    CHECK(strstr(text, "off|observe|auto|always") != NULL);
    CHECK(strstr(text, "REMAP_MAX_BYTES") != NULL);
    CHECK(strstr(text, "12Q") != NULL);
    CHECK_OK(unlink(path));
    *strrchr(path, '/') = '\0';
    CHECK_OK(rmdir(path));
}

static const struct test_case cases[] = {
    {"policy_off", policy_off, "REMAP_POLICY=off"},
    {"policy_observe", policy_observe, "REMAP_POLICY=observe"},
    {"policy_auto", policy_auto, "REMAP_POLICY=auto"},
    {"engine_none", engine_none, "REMAP_ENGINE=none"},
    {"engine_uffd", engine_uffd, "REMAP_ENGINE=uffd"},
    {"max_bytes", max_bytes, "REMAP_MAX_BYTES=1M"},
    {"min_bytes", min_bytes, "REMAP_MIN_BYTES=64K"},
    {"always_ignores_bounds", always_ignores_bounds,
     "REMAP_POLICY=always REMAP_MAX_BYTES=1M REMAP_MIN_BYTES=64K"},
    {"exe_other", exe_other, "REMAP_EXE=luajit*,java"},
    {"exe_ours", exe_ours, "REMAP_EXE=java,pol?cy*"},
    {"bad_values", bad_values, "REMAP_POLICY=sometimes REMAP_MAX_BYTES=12Q"},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
