/* SPDX-License-Identifier: MIT */
/*
 * Text without libc: a bounded builder and number parsing, for code that runs in signal handlers,
 * before main and inside other people's processes. Nothing here allocates, locks or touches errno.
 */
#ifndef REMAP_TEXT_H
#define REMAP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Always NUL-terminated; what does not fit is cut off and `cut` is set. */
struct text {
    char *buf;
    size_t size;
    size_t len;
    bool cut;
};

void text_start(struct text *t, char *buf, size_t size);
void text_add(struct text *t, const char *s);
void text_add_n(struct text *t, const char *s, size_t n);
void text_add_number(struct text *t, uint64_t value);
void text_add_hex(struct text *t, uint64_t value);

size_t text_length(const char *s);
bool text_equal(const char *a, const char *b);
bool text_starts(const char *s, const char *prefix);

/* Parses digits of the base (10 or 16) from *s on, advances *s past them. False: no digit there, or
 * the number exceeds 64 bits. */
bool text_number(const char **s, unsigned base, uint64_t *value);

#endif
