/* SPDX-License-Identifier: MIT */
/*
 * JSON: what every command needs. Numbers are raw; strings are escaped as in the tables, so that
 * every document is valid whatever a process calls itself.
 */
#ifndef REMAPSTAT_JSON_H
#define REMAPSTAT_JSON_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "kinds.h"
#include "table.h"
#include "view.h"

/* jansson returns NULL when memory is short; these give up instead. set consumes `value`. */
json_t *json_new_object(void);
json_t *json_new_array(void);
void json_set(json_t *object, const char *key, json_t *value);
void json_add(json_t *array, json_t *value);

/* JSON integers have 63 bits here; what does not fit, which no honest counter reaches, is cut. */
json_t *json_number(uint64_t n);
/* Escaped. */
json_t *json_text(const char *raw);
/* 64 bits that are an identity and no quantity: as a string. */
json_t *json_identity(uint64_t n);

/* The selected columns of a process; null where a value is not known. */
json_t *json_process(const struct view *v, const struct selection *s);

/* Prints one document, indented or on one line, with a newline, flushes and frees it. */
void json_print(FILE *stream, json_t *document, bool one_line);

/* Everything known about one process: the object of `remapstat --json PID`. */
json_t *json_details(const struct view *v, const struct kinds *k);

#endif
