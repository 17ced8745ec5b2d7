/* SPDX-License-Identifier: MIT */
/*
 * The native tier where the kernel's answer is not what was hoped for: errors, a success that
 * merged nothing, lost contents, a flag that comes and goes, a kernel that is known to be broken.
 * The answers come from a double, see native.c. Whatever it is, the program has what plain mremap()
 * would have given it.
 */
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>

#include "native_scene.h"

/* ---- answers other than success ---- */

static void einval_later(void)
{
    begin_native();
    CHECK(move_merges(0));
    double_answers(DOUBLE_8, -EINVAL);
    double_answers(DOUBLE_16, -EINVAL);
    watch();
    move_merges(0); /* as a plain call at least */
    CHECK_GE(flagged(), 1);
    check_unused();
    uint64_t refused = check_demand() ? 0 : 1;
    double_answers(DOUBLE_8, DOUBLE_RELOCATES);
    double_answers(DOUBLE_16, DOUBLE_RELOCATES);
    check_unused();
    refused += check_demand() ? 0 : 1;
    CHECK_EQ(flagged(), 0);
    CHECK_EQ(outcomes(REMAP_OUTCOME_NATIVE), 1);
    CHECK_EQ(outcomes(REMAP_OUTCOME_FAILED), refused);
}

/* The same where the kernel chooses the place, and where the source stays. */
static void einval_later_chosen(void)
{
    begin_native();
    double_answers_once(DOUBLE_8, -EINVAL);
    char *src = piece(LEN, 1);
    char *got = shim_mremap(src, LEN, 2 * LEN, MREMAP_MAYMOVE, NULL);
    CHECK(got != MAP_FAILED && got != src);
    CHECK_HOLDS(got, LEN, 1);
    CHECK(holds_zero(got + LEN, LEN));
    CHECK_EQ(mapped_in(src, LEN), 0);
    check_unused();
}

static void einval_later_kept(void)
{
    begin_native();
    double_answers_once(DOUBLE_8, -EINVAL);
    char *src = piece(LEN, 1);
    char *dst = reserve(LEN);
    CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO | MREMAP_DONTUNMAP, dst), dst);
    CHECK_HOLDS(dst, LEN, 1);
    CHECK(holds_zero(src, LEN));
    check_unused();
}

/* What is wrong with the arguments alone says nothing about the flag. */
static void einval_of_arguments(void)
{
    begin_native();
    struct scene s = scene();
    static const int with[] = {0, RELOC, MUST};
    for (size_t i = 0; i < 3; i++) {
        int flags = MOVE_TO | with[i];
        CHECK_ERRNO(shim_mremap(s.src, LEN, LEN, flags, s.dst + 1), EINVAL);
        CHECK_ERRNO(shim_mremap(s.src + 1, LEN, LEN, flags, s.dst), EINVAL);
        CHECK_ERRNO(shim_mremap(s.src, LEN, LEN, flags, s.src), EINVAL);
        CHECK_ERRNO(shim_mremap(s.src, LEN, LEN, flags, s.src + PAGE), EINVAL);
        CHECK_ERRNO(shim_mremap(s.src, LEN, 0, flags, s.dst), EINVAL);
        CHECK_ERRNO(shim_mremap(s.src, 0, LEN, flags, s.dst), EINVAL);
        CHECK_ERRNO(shim_mremap(s.src, LEN, LEN, flags | 64, s.dst), EINVAL);
        CHECK_ERRNO(shim_mremap(s.src, LEN, 2 * LEN, flags | MREMAP_DONTUNMAP, s.dst), EINVAL);
    }
    check_not_moved(&s);
    check_alive();
}

/* Nor does what the kernel finds wrong with the mapping. */
static void einval_of_mapping(void)
{
    begin_native();
    size_t tried = 0;
    char *vdso = (char *)getauxval(AT_SYSINFO_EHDR);
    char *to = reserve(HUGE + LEN) + PAGE;
    if (vdso) { /* its pages are the kernel's: there is nothing to leave behind */
        int flags = MOVE_TO | MREMAP_DONTUNMAP;
        if (raw_mremap(vdso, PAGE, PAGE, flags, to) == -EINVAL) {
            tried++;
            CHECK_ERRNO(shim_mremap(vdso, PAGE, PAGE, flags, to), EINVAL);
            check_alive();
        }
    }
    char *huge =
        mmap(NULL, HUGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
    if (huge != MAP_FAILED && raw_mremap(huge, HUGE, HUGE, MOVE_TO, to) == -EINVAL) {
        tried++;
        CHECK_ERRNO(shim_mremap(huge, HUGE, HUGE, MOVE_TO, to), EINVAL);
        check_alive();
        CHECK_ERRNO(shim_mremap(huge, HUGE, HUGE, MOVE_TO | RELOC, to), EINVAL);
        check_alive();
    }
    if (tried == 0) {
        test_skip("no mapping here that the kernel refuses with EINVAL");
    }
}

/* Errors that are no verdict on the flag: the program gets them, and the next call uses it again.
 */
static void errors_handed_on(void)
{
    static const int errors[] = {EFAULT, ENOMEM, EAGAIN, EPERM};
    begin_native();
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        uint64_t failed = outcomes(REMAP_OUTCOME_FAILED);
        double_answers(DOUBLE_8, -errors[i]);
        double_answers(DOUBLE_16, -errors[i]);
        struct scene s = scene();
        watch();
        CHECK_ERRNO(shim_mremap(s.src, LEN, LEN, MOVE_TO, s.dst), errors[i]);
        CHECK_ERRNO(shim_mremap(s.src, LEN, LEN, MOVE_TO | MREMAP_DONTUNMAP, s.dst), errors[i]);
        CHECK_EQ(unflagged(), 0);
        CHECK_ERRNO(shim_mremap(s.src, LEN, 2 * LEN, MREMAP_MAYMOVE, NULL), errors[i]);
        CHECK_ERRNO(shim_mremap(s.src, LEN, LEN, MOVE_TO | MUST, s.dst), errors[i]);
        CHECK_EQ(unflagged(), 1); /* of the growth: in place? */
        check_not_moved(&s);
        CHECK_EQ(outcomes(REMAP_OUTCOME_FAILED) - failed, 4);
        CHECK_EQ(stats_now().counters.call_errnos[errors[i]], 4);
        double_answers(DOUBLE_8, DOUBLE_RELOCATES);
        double_answers(DOUBLE_16, DOUBLE_RELOCATES);
        check_alive();
    }
}

static void success_without_merge(void)
{
    begin_native();
    double_answers_once(DOUBLE_8, DOUBLE_MOVES);
    CHECK(!move_merges(0));
    saw_calls(1);
    CHECK_EQ(stats_now().counters.moves, 1);
    CHECK_EQ(stats_now().counters.saved, 0);
    check_alive();
    CHECK_EQ(stats_now().counters.saved, 2);
}

/* ---- what the probe makes of a flag that is not as it should be ---- */

static void check_broken(long answer)
{
    double_answers(DOUBLE_8, answer);
    double_answers(DOUBLE_16, answer);
    begin();
    CHECK_EQ(answer_to(REMAP_FEATURE_RELOCATE), REMAP_ANSWER_BROKEN);
    CHECK_EQ(answer_to(REMAP_FEATURE_MUST_RELOCATE), REMAP_ANSWER_BROKEN);
    CHECK(features_now().tier != REMAP_TIER_NATIVE);
    check_unused();
    check_demand();
    CHECK_EQ(flagged(), 0);
}

static void probe_without_merge(void)
{
    check_broken(DOUBLE_MOVES);
}

static void probe_loses_contents(void)
{
    check_broken(DOUBLE_LOSES);
}

static void check_absent(int error)
{
    struct remap_features f = features_now();
    CHECK_EQ(f.features[REMAP_FEATURE_RELOCATE].answer, REMAP_ANSWER_ABSENT);
    CHECK_EQ(f.features[REMAP_FEATURE_RELOCATE].error, error);
    CHECK(f.tier != REMAP_TIER_NATIVE);
    check_unused();
    check_demand();
}

static void probe_einval(void)
{
    double_answers(DOUBLE_8, -EINVAL);
    double_answers(DOUBLE_16, -EINVAL);
    begin();
    check_absent(EINVAL);
    CHECK_EQ(flagged(), 0);
}

/* A seccomp filter forbids the flag, say. */
static void probe_eperm(void)
{
    double_answers(DOUBLE_8, -EPERM);
    double_answers(DOUBLE_16, -EPERM);
    begin();
    check_absent(EPERM);
    CHECK_EQ(flagged(), 0);
}

/* What 16 answers is no verdict on 8. */
static void only_8(void)
{
    double_answers(DOUBLE_16, -EINVAL);
    begin_native();
    CHECK_EQ(answer_to(REMAP_FEATURE_MUST_RELOCATE), REMAP_ANSWER_ABSENT);
    check_alive();
    check_demand();
    check_alive();
}

static void only_16(void)
{
    double_answers(DOUBLE_8, -EINVAL);
    begin();
    CHECK_EQ(answer_to(REMAP_FEATURE_MUST_RELOCATE), REMAP_ANSWER_PRESENT);
    check_absent(EINVAL);
}

/* Moves merge without any flag: then there is nothing to do. */
static void plain_moves_merge(void)
{
    double_answers(DOUBLE_PLAIN, DOUBLE_RELOCATES);
    double_answers(DOUBLE_8, -EINVAL);
    double_answers(DOUBLE_16, -EINVAL);
    under_double();
    CHECK_EQ(answer_to(REMAP_FEATURE_PLAIN_MERGES), REMAP_ANSWER_PRESENT);
    CHECK_EQ(features_now().tier, REMAP_TIER_NONE);
    static const int with[] = {0, RELOC, MUST};
    for (size_t i = 0; i < 3; i++) {
        struct scene s = scene();
        watch();
        check_moved(&s, shim_mremap(s.src, LEN, LEN, MOVE_TO | with[i], s.dst));
        CHECK_EQ(vmas_in(s.row, 2 * LEN), 1);
        saw_calls(1);
        saw(0, s.src, LEN, LEN, MOVE_TO, s.dst);
    }
    CHECK_EQ(stats_now().counters.reasons[REMAP_REASON_MERGES], 3);
}

/* ---- kernels that are known to be broken ---- */

#define BROKEN_KERNEL "6.16.0-rc2-next-20250616"

static void refused_by_name(void)
{
    double_uname(BROKEN_KERNEL);
    begin();
    CHECK(strcmp(stats_now().identity.kernel, BROKEN_KERNEL) == 0);
    CHECK_EQ(answer_to(REMAP_FEATURE_RELOCATE), REMAP_ANSWER_BROKEN);
    CHECK_EQ(answer_to(REMAP_FEATURE_MUST_RELOCATE), REMAP_ANSWER_BROKEN);
    CHECK(features_now().tier != REMAP_TIER_NATIVE);
    check_unused();
    check_demand();
    CHECK_EQ(flagged(), 0);
}

static void refused_by_name_insist(void)
{
    double_uname(BROKEN_KERNEL);
    begin_native();
    CHECK(strcmp(stats_now().identity.kernel, BROKEN_KERNEL) == 0);
    check_alive();
}

static const struct test_case cases[] = {
    {"einval_later", einval_later, NULL},
    {"einval_later_chosen", einval_later_chosen, NULL},
    {"einval_later_kept", einval_later_kept, NULL},
    {"einval_of_arguments", einval_of_arguments, NULL},
    {"einval_of_mapping", einval_of_mapping, NULL},
    {"errors_handed_on", errors_handed_on, NULL},
    {"success_without_merge", success_without_merge, NULL},
    {"probe_without_merge", probe_without_merge, NULL},
    {"probe_loses_contents", probe_loses_contents, NULL},
    {"probe_einval", probe_einval, NULL},
    {"probe_eperm", probe_eperm, NULL},
    {"only_8", only_8, NULL},
    {"only_16", only_16, NULL},
    {"plain_moves_merge", plain_moves_merge, NULL},
    {"refused_by_name", refused_by_name, NULL},
    {"refused_by_name_insist", refused_by_name_insist, "REMAP_INSIST=on"},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
