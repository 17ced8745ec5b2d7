/* SPDX-License-Identifier: MIT */
/* Text without libc: the bounded builder and number parsing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "text.h"

static void builder(void **state)
{
    char buf[32];
    struct text t;
    (void)state;
    text_start(&t, buf, sizeof(buf));
    assert_string_equal(buf, "");
    text_add(&t, "a");
    text_add_n(&t, "bcdef", 2);
    text_add_number(&t, 0);
    text_add_number(&t, UINT64_MAX);
    assert_string_equal(buf, "abc018446744073709551615");
    assert_false(t.cut);
    text_start(&t, buf, sizeof(buf));
    text_add_hex(&t, 0xdeadbeef0123u);
    assert_string_equal(buf + strlen(buf) - 12, "deadbeef0123");
}

static void builder_cuts(void **state)
{
    char buf[12];
    struct text t;
    (void)state;
    memset(buf, 'x', sizeof(buf));
    text_start(&t, buf, 6);
    text_add(&t, "abcde");
    assert_false(t.cut);
    text_add(&t, "f");
    assert_true(t.cut);
    text_add_number(&t, 12345);
    assert_string_equal(buf, "abcde");
    assert_memory_equal(buf + 6, "xxxxxx", 6);
    text_start(&t, buf, 1);
    text_add(&t, "abc");
    assert_string_equal(buf, "");
    assert_true(t.cut);
}

static void compare(void **state)
{
    (void)state;
    assert_int_equal(text_length(""), 0);
    assert_int_equal(text_length("abc"), 3);
    assert_true(text_equal("", ""));
    assert_true(text_equal("ab", "ab"));
    assert_false(text_equal("ab", "abc"));
    assert_false(text_equal("abc", "ab"));
    assert_true(text_starts("abc", "ab"));
    assert_true(text_starts("abc", ""));
    assert_false(text_starts("ab", "abc"));
}

static void number(void **state)
{
    uint64_t value = 0;
    const char *s = "18446744073709551615;";
    (void)state;
    assert_true(text_number(&s, 10, &value));
    assert_true(value == UINT64_MAX);
    assert_int_equal(*s, ';');
    s = "18446744073709551616";
    assert_false(text_number(&s, 10, &value));
    s = "7ffd12-";
    assert_true(text_number(&s, 16, &value));
    assert_int_equal(value, 0x7ffd12);
    assert_int_equal(*s, '-');
    s = "ffffffffffffffff0";
    assert_false(text_number(&s, 16, &value));
    s = "";
    assert_false(text_number(&s, 10, &value));
    s = "-1";
    assert_false(text_number(&s, 10, &value));
    s = " 1";
    assert_false(text_number(&s, 10, &value));
    s = "a";
    assert_false(text_number(&s, 10, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builder),
        cmocka_unit_test(builder_cuts),
        cmocka_unit_test(compare),
        cmocka_unit_test(number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
