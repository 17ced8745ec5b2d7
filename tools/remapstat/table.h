/* SPDX-License-Identifier: MIT */
/*
 * Tables: columns described once, a selection of them made by -o, cells of text, libsmartcols.
 */
#ifndef REMAPSTAT_TABLE_H
#define REMAPSTAT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { COLUMN_RIGHT = 1, COLUMN_WRAP = 2 /* prose */ };

struct column {
    const char *name; /* the heading */
    const char *key;  /* the JSON key */
    const char *help;
    int flags;
    int width; /* at least, for rows that are printed one by one */
};

#define SELECTION_MAX 64

/* Indices into an array of columns. */
struct selection {
    size_t count;
    size_t index[SELECTION_MAX];
};

/*
 * Fills in *out with the names in `list`, which are separated by commas and may be headings or JSON
 * keys; "+NAME,..." adds to `fallback`, NULL is `fallback`. Says what is wrong and returns false.
 */
bool selection_parse(struct selection *out, const char *list, const struct selection *fallback,
                     const struct column *columns, size_t column_count);

/* All columns, in order. */
struct selection selection_all(size_t column_count);

struct table;
struct table *table_new(FILE *stream, const struct column *columns, const struct selection *s,
                        bool noheadings);
/* `cells` has one text for each column of the array, selected or not; NULL is shown as "-". */
void table_row(struct table *t, const char *const *cells);
/* Prints and frees. */
void table_print(struct table *t);

#endif
