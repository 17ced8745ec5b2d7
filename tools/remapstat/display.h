/* SPDX-License-Identifier: MIT */
/*
 * Text for people: messages, escaped strings, units, names of errors.
 *
 * Names of processes, paths and the contents of statistics files come from strangers. Whatever is
 * not plain ASCII is escaped before it reaches a terminal or a JSON document.
 */
#ifndef REMAPSTAT_DISPLAY_H
#define REMAPSTAT_DISPLAY_H

#include <stddef.h>
#include <stdint.h>

#define DISPLAY_UNIT 24 /* room for any number with its unit */

/* "remapstat: ...\n" on standard error. Strings from outside must be escaped by the caller. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says that memory is short and exits. For the few places that allocate. */
void out_of_memory(void) __attribute__((noreturn));

/* Copies `in` with control and non-ASCII bytes as \xHH and the backslash doubled; cuts what does
 * not fit. Returns `out`. */
const char *display_escape(char *out, size_t size, const char *in);

/* "4K", "1.5M"; "12.3us". Return `out`. */
const char *display_bytes(char out[DISPLAY_UNIT], uint64_t bytes);
const char *display_ns(char out[DISPLAY_UNIT], uint64_t ns);

/* "ENOSYS"; static storage or `out`. */
const char *display_errno(char out[DISPLAY_UNIT], int error);

#endif
