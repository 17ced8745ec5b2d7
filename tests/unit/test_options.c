/* SPDX-License-Identifier: MIT */
/* options_parse() and options_exe_matches(): each option good, bad and unset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "options.h"

static struct remap_options parse(const char *entry)
{
    struct remap_options o;
    char copy[256];
    char *env[] = {copy, NULL};
    memset(&o, 0xa5, sizeof(o)); /* every field must be filled in */
    assert_true(strlen(entry) < sizeof(copy));
    strcpy(copy, entry);
    options_parse(&o, env);
    return o;
}

static void check_defaults(const struct remap_options *o)
{
    assert_int_equal(o->policy, POLICY_AUTO);
    assert_int_equal(o->engines[0], REMAP_TIER_NATIVE);
    assert_int_equal(o->engines[1], REMAP_TIER_UFFD);
    assert_int_equal(o->engines[2], REMAP_TIER_NONE);
    assert_true(o->multi);
    assert_false(o->insist);
    assert_int_equal(o->catch, 1u << REMAP_WAY_SYMBOL | 1u << REMAP_WAY_SYSCALL);
    assert_int_equal(o->trap, TRAP_GUARDED);
    assert_int_equal(o->callers, 0);
    assert_int_equal(o->min_bytes, 0);
    assert_int_equal(o->max_bytes, 64u << 20);
    assert_int_equal(o->stats, STATS_ON);
    assert_int_equal(o->log, LOG_WARN);
    assert_int_equal(o->run_id, 0);
    assert_string_equal(o->exe, "");
    assert_string_equal(o->stats_dir, "");
    assert_string_equal(o->log_file, "");
}

static void defaults(void **state)
{
    struct remap_options o;
    char *nothing[] = {NULL};
    (void)state;
    memset(&o, 0xa5, sizeof(o));
    options_parse(&o, NULL);
    check_defaults(&o);
    assert_int_equal(o.bad, 0);
    assert_string_equal(o.xdg_runtime_dir, "");
    for (int i = 0; i < OPTION_COUNT; i++) {
        assert_null(o.raw[i]);
    }
    options_parse(&o, nothing);
    check_defaults(&o);
    o = parse("REMAP_POLICYX=off");
    check_defaults(&o);
    o = parse("XREMAP_POLICY=off");
    check_defaults(&o);
    o = parse("REMAP_POLICY");
    check_defaults(&o);
}

/* The table's own defaults, spelled out, are valid and mean the same. */
static void table_defaults(void **state)
{
    (void)state;
    for (int i = 0; i < OPTION_COUNT; i++) {
        char entry[256];
        const struct remap_option_info *row = &remap_option_table[i];
        assert_true(strlen(row->variable) + strlen(row->fallback) + 2 < sizeof(entry));
        strcpy(entry, row->variable);
        strcat(entry, "=");
        strcat(entry, row->fallback);
        struct remap_options o = parse(entry);
        assert_int_equal(o.bad, 0);
        assert_non_null(o.raw[i]);
    }
}

struct bad_or_good {
    const char *entry;
    int option; /* -1: good */
};

static void good_and_bad(void **state)
{
    static const struct bad_or_good rows[] = {
        {"REMAP_POLICY=off", -1},
        {"REMAP_POLICY=observe", -1},
        {"REMAP_POLICY=always", -1},
        {"REMAP_POLICY=", OPTION_POLICY},
        {"REMAP_POLICY=Off", OPTION_POLICY},
        {"REMAP_POLICY=off ", OPTION_POLICY},
        {"REMAP_POLICY=of", OPTION_POLICY},
        {"REMAP_POLICY=off|auto", OPTION_POLICY},
        {"REMAP_ENGINE=none", -1},
        {"REMAP_ENGINE=uffd,native", -1},
        {"REMAP_ENGINE=uffd,none,native", -1},
        {"REMAP_ENGINE=", OPTION_ENGINE},
        {"REMAP_ENGINE=uffd,", OPTION_ENGINE},
        {"REMAP_ENGINE=uffd,,native", OPTION_ENGINE},
        {"REMAP_ENGINE=kernel", OPTION_ENGINE},
        {"REMAP_CATCH=symbol", -1},
        {"REMAP_CATCH=trap,realloc,symbol,syscall,trap", -1},
        {"REMAP_CATCH=", OPTION_CATCH},
        {"REMAP_CATCH=realloc,", OPTION_CATCH},
        {"REMAP_CATCH=malloc", OPTION_CATCH},
        {"REMAP_CATCH=symbol|syscall", OPTION_CATCH},
        {"REMAP_TRAP=always", -1},
        {"REMAP_TRAP=never", OPTION_TRAP},
        {"REMAP_CALLERS=0", -1},
        {"REMAP_CALLERS=32", -1},
        {"REMAP_CALLERS=33", OPTION_CALLERS},
        {"REMAP_CALLERS=deep", OPTION_CALLERS},
        {"REMAP_MIN_BYTES=0", -1},
        {"REMAP_MIN_BYTES=9223372036854775807", -1},
        {"REMAP_MIN_BYTES=9223372036854775808", OPTION_MIN_BYTES},
        {"REMAP_MIN_BYTES=99999999999999999999999", OPTION_MIN_BYTES},
        {"REMAP_MIN_BYTES=-1", OPTION_MIN_BYTES},
        {"REMAP_MIN_BYTES=", OPTION_MIN_BYTES},
        {"REMAP_MIN_BYTES=K", OPTION_MIN_BYTES},
        {"REMAP_MIN_BYTES= 1", OPTION_MIN_BYTES},
        {"REMAP_MAX_BYTES=12Q", OPTION_MAX_BYTES},
        {"REMAP_MAX_BYTES=1MB", OPTION_MAX_BYTES},
        {"REMAP_MAX_BYTES=1.5M", OPTION_MAX_BYTES},
        {"REMAP_MAX_BYTES=0x10", OPTION_MAX_BYTES},
        {"REMAP_MAX_BYTES=8589934591G", -1},
        {"REMAP_MAX_BYTES=8589934592G", OPTION_MAX_BYTES},
        {"REMAP_MAX_BYTES=18014398509481985K", OPTION_MAX_BYTES},
        {"REMAP_INSIST=on", -1},
        {"REMAP_INSIST=1", OPTION_INSIST},
        {"REMAP_STATS=off", -1},
        {"REMAP_STATS=keep", -1},
        {"REMAP_STATS=yes", OPTION_STATS},
        {"REMAP_STATS_DIR=/run/x", -1},
        {"REMAP_STATS_DIR=run/x", OPTION_STATS_DIR},
        {"REMAP_LOG=debug", -1},
        {"REMAP_LOG=loud", OPTION_LOG},
        {"REMAP_LOG_FILE=/tmp/x", -1},
        {"REMAP_LOG_FILE=x", OPTION_LOG_FILE},
        {"REMAP_RUN_ID=18446744073709551615", -1},
        {"REMAP_RUN_ID=18446744073709551616", OPTION_RUN_ID},
        {"REMAP_RUN_ID=", OPTION_RUN_ID},
        {"REMAP_RUN_ID=12x", OPTION_RUN_ID},
        {"REMAP_EXE=anything at all", -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct remap_options o = parse(rows[i].entry);
        uint32_t want = rows[i].option < 0 ? 0 : 1u << rows[i].option;
        if (o.bad != want) {
            print_error("%s: bad is %#x, not %#x\n", rows[i].entry, o.bad, want);
        }
        assert_int_equal(o.bad, want);
        if (want != 0) {
            check_defaults(&o);
            assert_non_null(o.raw[rows[i].option]);
        }
    }
}

/* `expected`: the first letters of the tiers, in order. */
static void check_engines(const char *entry, const char *expected)
{
    static const char letters[] = {
        [REMAP_TIER_NATIVE] = 'n', [REMAP_TIER_UFFD] = 'u', [REMAP_TIER_COPY] = 'c'};
    struct remap_options o = parse(entry);
    char got[REMAP_TIER_COUNT] = "";
    for (size_t i = 0; o.engines[i] != REMAP_TIER_NONE; i++) {
        got[i] = letters[o.engines[i]];
        assert_true(options_allow(&o, o.engines[i]));
    }
    assert_int_equal(o.bad, 0);
    assert_string_equal(got, expected);
    assert_false(options_allow(&o, REMAP_TIER_NONE));
}

static void values(void **state)
{
    (void)state;
    assert_int_equal(parse("REMAP_POLICY=off").policy, POLICY_OFF);
    assert_int_equal(parse("REMAP_POLICY=observe").policy, POLICY_OBSERVE);
    assert_int_equal(parse("REMAP_POLICY=always").policy, POLICY_ALWAYS);
    check_engines("REMAP_ENGINE=none", "");
    check_engines("REMAP_ENGINE=uffd", "u");
    check_engines("REMAP_ENGINE=native", "n");
    check_engines("REMAP_ENGINE=copy", "c");
    check_engines("REMAP_ENGINE=uffd,none,native", "u");
    check_engines("REMAP_ENGINE=uffd,native", "un");
    check_engines("REMAP_ENGINE=native,uffd,copy", "nuc");
    check_engines("REMAP_ENGINE=copy,copy,native,copy,uffd,uffd", "cnu");
    assert_int_equal(parse("REMAP_CATCH=symbol").catch, 1u << REMAP_WAY_SYMBOL);
    assert_int_equal(parse("REMAP_CATCH=trap,realloc").catch,
                     1u << REMAP_WAY_TRAP | 1u << REMAP_WAY_REALLOC);
    assert_true(options_catch(&(struct remap_options){.catch = 4}, REMAP_WAY_REALLOC));
    assert_int_equal(parse("REMAP_TRAP=always").trap, TRAP_ALWAYS);
    assert_int_equal(parse("REMAP_CALLERS=16").callers, 16);
    assert_false(parse("REMAP_MULTI=off").multi);
    assert_true(parse("REMAP_MULTI=on").multi);
    assert_int_equal(parse("REMAP_MIN_BYTES=17").min_bytes, 17);
    assert_int_equal(parse("REMAP_MIN_BYTES=4K").min_bytes, 4096);
    assert_int_equal(parse("REMAP_MAX_BYTES=3M").max_bytes, 3u << 20);
    assert_int_equal(parse("REMAP_MAX_BYTES=2G").max_bytes, 2ull << 30);
    assert_int_equal(parse("REMAP_MAX_BYTES=2g").max_bytes, 2ull << 30);
    assert_true(parse("REMAP_INSIST=on").insist);
    assert_int_equal(parse("REMAP_STATS=keep").stats, STATS_KEEP);
    assert_int_equal(parse("REMAP_STATS=off").stats, STATS_OFF);
    assert_int_equal(parse("REMAP_LOG=error").log, LOG_ERROR);
    assert_int_equal(parse("REMAP_RUN_ID=4711").run_id, 4711);
}

static void strings(void **state)
{
    struct remap_options o;
    char dir[] = "REMAP_STATS_DIR=/a/b";
    char file[] = "REMAP_LOG_FILE=/c";
    char exe[] = "REMAP_EXE=java,lua*";
    char runtime[] = "XDG_RUNTIME_DIR=/run/user/1";
    char again[] = "REMAP_STATS_DIR=/second";
    char *env[] = {dir, file, exe, runtime, again, NULL};
    (void)state;
    options_parse(&o, env);
    assert_string_equal(o.stats_dir, "/a/b");
    assert_string_equal(o.log_file, "/c");
    assert_string_equal(o.exe, "java,lua*");
    assert_string_equal(o.xdg_runtime_dir, "/run/user/1");
    assert_string_equal(o.raw[OPTION_STATS_DIR], "/a/b");
}

static void one_bad_does_not_spoil_the_rest(void **state)
{
    struct remap_options o;
    char bad[] = "REMAP_MAX_BYTES=lots";
    char good[] = "REMAP_POLICY=always";
    char *env[] = {bad, good, NULL};
    (void)state;
    options_parse(&o, env);
    assert_int_equal(o.bad, 1u << OPTION_MAX_BYTES);
    assert_int_equal(o.policy, POLICY_ALWAYS);
    assert_int_equal(o.max_bytes, 64u << 20);
}

static void patterns(void **state)
{
    (void)state;
    assert_true(options_exe_matches("", "luajit"));
    assert_true(options_exe_matches("luajit", "luajit"));
    assert_false(options_exe_matches("luajit", "luajit2"));
    assert_false(options_exe_matches("luajit", "luaji"));
    assert_true(options_exe_matches("java,luajit", "luajit"));
    assert_true(options_exe_matches("java,lua*", "luajit"));
    assert_false(options_exe_matches("java,lua*", "perl"));
    assert_true(options_exe_matches("*", "anything"));
    assert_true(options_exe_matches("l?ajit", "luajit"));
    assert_false(options_exe_matches("l?jit", "luajit"));
    assert_true(options_exe_matches("*jit", "luajit"));
    assert_true(options_exe_matches("l*j*t", "luajit"));
    assert_false(options_exe_matches("l*x*t", "luajit"));
    assert_true(options_exe_matches("a*a*a*b", "aaaaaaaaaaaaaaaaab"));
    assert_false(options_exe_matches("a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    assert_false(options_exe_matches("java,,x", "luajit"));
    assert_false(options_exe_matches(",", "luajit"));
    assert_true(options_exe_matches("x,*", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),     cmocka_unit_test(table_defaults),
        cmocka_unit_test(good_and_bad), cmocka_unit_test(values),
        cmocka_unit_test(strings),      cmocka_unit_test(one_bad_does_not_spoil_the_rest),
        cmocka_unit_test(patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
