/* SPDX-License-Identifier: MIT */
#include "text.h"

void text_start(struct text *t, char *buf, size_t size)
{
    *t = (struct text){.buf = buf, .size = size};
    buf[0] = '\0';
}

void text_add_n(struct text *t, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (t->len + 1 >= t->size) {
            t->cut = true;
            break;
        }
        t->buf[t->len++] = s[i];
    }
    t->buf[t->len] = '\0';
}

void text_add(struct text *t, const char *s)
{
    text_add_n(t, s, text_length(s));
}

static void add_in_base(struct text *t, uint64_t value, unsigned base)
{
    char digits[24];
    size_t n = sizeof(digits);
    do {
        digits[--n] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    text_add_n(t, digits + n, sizeof(digits) - n);
}

void text_add_number(struct text *t, uint64_t value)
{
    add_in_base(t, value, 10);
}

void text_add_hex(struct text *t, uint64_t value)
{
    add_in_base(t, value, 16);
}

size_t text_length(const char *s)
{
    size_t n = 0;
    while (s[n] != '\0')
        n++;
    return n;
}

bool text_equal(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

bool text_starts(const char *s, const char *prefix)
{
    while (*prefix != '\0') {
        if (*s++ != *prefix++)
            return false;
    }
    return true;
}

static bool digit_value(char c, unsigned base, unsigned *value)
{
    unsigned d;
    if (c >= '0' && c <= '9')
        d = (unsigned)(c - '0');
    else if (c >= 'a' && c <= 'f')
        d = (unsigned)(c - 'a') + 10;
    else
        return false;
    *value = d;
    return d < base;
}

bool text_number(const char **s, unsigned base, uint64_t *value)
{
    unsigned d;
    uint64_t v = 0;
    if (!digit_value(**s, base, &d))
        return false;
    for (; digit_value(**s, base, &d); (*s)++) {
        if (v > (UINT64_MAX - d) / base)
            return false;
        v = v * base + d;
    }
    *value = v;
    return true;
}
