/* SPDX-License-Identifier: MIT */
#include "table.h"

#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "display.h"

struct table {
    FILE *stream;
    const struct column *columns;
    struct selection selection;
    bool noheadings;
    char **cells; /* of the selected columns, row by row */
    size_t rows;
};

static bool same_name(const char *name, const char *text, size_t len)
{
    return strlen(name) == len && strncasecmp(name, text, len) == 0;
}

static void say_columns(const struct column *columns, size_t count)
{
    fputs("columns:", stderr);
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, " %s", columns[i].name);
    fputc('\n', stderr);
}

bool selection_parse(struct selection *out, const char *list, const struct selection *fallback,
                     const struct column *columns, size_t column_count)
{
    if (!list || *list == '+')
        *out = *fallback;
    else
        out->count = 0;
    if (!list)
        return true;
    list += *list == '+';
    for (;;) {
        size_t len = strcspn(list, ","), i = 0;
        while (i < column_count && !same_name(columns[i].name, list, len) &&
               !same_name(columns[i].key, list, len))
            i++;
        if (i == column_count || out->count == SELECTION_MAX) {
            char name[128];
            display_escape(name, sizeof(name), list);
            say(i == column_count ? "no column has the name at the start of '%s'"
                                  : "too many columns at '%s'",
                name);
            say_columns(columns, column_count);
            return false;
        }
        out->index[out->count++] = i;
        if (!list[len])
            return true;
        list += len + 1;
    }
}

struct selection selection_all(size_t column_count)
{
    struct selection s = {.count = column_count};

    for (size_t i = 0; i < column_count; i++)
        s.index[i] = i;
    return s;
}

struct table *table_new(FILE *stream, const struct column *columns, const struct selection *s,
                        bool noheadings)
{
    struct table *t = calloc(1, sizeof(*t));

    if (!t)
        out_of_memory();
    *t = (struct table){
        .stream = stream, .columns = columns, .selection = *s, .noheadings = noheadings};
    return t;
}

void table_row(struct table *t, const char *const *cells)
{
    const size_t n = t->selection.count;
    char **row;

    t->cells = reallocarray(t->cells, (t->rows + 1) * n, sizeof(*t->cells));
    if (!t->cells)
        out_of_memory();
    row = t->cells + t->rows * n;
    t->rows++;
    for (size_t i = 0; i < n; i++) {
        const char *text = cells[t->selection.index[i]];
        /* Room for a line break after each byte. */
        size_t len = strlen(text ? text : "-");
        row[i] = malloc(2 * len + 1);
        if (!row[i])
            out_of_memory();
        memcpy(row[i], text ? text : "-", len + 1);
    }
}

static const struct column *column_of(const struct table *t, size_t i)
{
    return &t->columns[t->selection.index[i]];
}

static size_t natural_width(const struct table *t, size_t i)
{
    size_t width = strlen(column_of(t, i)->name);

    for (size_t r = 0; r < t->rows; r++) {
        size_t len = strlen(t->cells[r * t->selection.count + i]);
        width = len > width ? len : width;
    }
    return width;
}

/* Breaks lines after blanks, commas and bars; a longer word stays whole. */
static void break_lines(char *text, size_t width)
{
    char *line = text, *last = NULL;

    for (char *p = text; *p; p++) {
        if ((size_t)(p - line) >= width && last) {
            if (*last == ' ') {
                *last = '\n';
            } else {
                memmove(last + 2, last + 1, strlen(last + 1) + 1);
                last[1] = '\n';
                last++;
                p++;
            }
            line = last + 1;
            last = NULL;
        }
        if (*p == ' ' || *p == ',' || *p == '|')
            last = p;
    }
}

/* libsmartcols breaks in the middle of words, so columns of prose are broken before it sees them.
 */
static void fit(struct table *t, size_t terminal)
{
    enum { LEAST = 16 };
    const size_t n = t->selection.count;
    size_t total = n - 1, prose = 0, widths[SELECTION_MAX];

    for (size_t i = 0; i < n; i++) {
        widths[i] = natural_width(t, i);
        total += widths[i];
        prose += column_of(t, i)->flags & COLUMN_WRAP ? widths[i] : 0;
    }
    if (total <= terminal || !prose)
        return;
    for (size_t i = 0; i < n; i++) {
        size_t others = total - prose, width = LEAST;
        if (!(column_of(t, i)->flags & COLUMN_WRAP))
            continue;
        if (terminal > others && widths[i] * (terminal - others) / prose > LEAST)
            width = widths[i] * (terminal - others) / prose;
        for (size_t r = 0; r < t->rows; r++)
            break_lines(t->cells[r * n + i], width);
    }
}

static void add_column(const struct table *t, struct libscols_table *scols, size_t i)
{
    int have = column_of(t, i)->flags, flags = 0;
    struct libscols_column *c;

    flags |= have & COLUMN_RIGHT ? SCOLS_FL_RIGHT : 0;
    flags |= have & COLUMN_WRAP ? SCOLS_FL_WRAP : 0;
    c = scols_table_new_column(scols, column_of(t, i)->name, 0, flags);
    if (!c ||
        (have & COLUMN_WRAP &&
         (scols_column_set_safechars(c, "\n") != 0 ||
          scols_column_set_wrapfunc(c, scols_wrapnl_chunksize, scols_wrapnl_nextchunk, NULL) != 0)))
        out_of_memory();
}

void table_print(struct table *t)
{
    const size_t n = t->selection.count;
    struct libscols_table *scols = scols_new_table();
    bool terminal = isatty(fileno(t->stream));

    if (!scols)
        out_of_memory();
    scols_table_set_stream(scols, t->stream);
    scols_table_enable_noheadings(scols, t->noheadings);
    /* The cells are escaped already. */
    scols_table_enable_noencoding(scols, 1);
    /* libsmartcols asks only standard output whether it is a terminal. */
    scols_table_set_termforce(scols, terminal ? SCOLS_TERMFORCE_ALWAYS : SCOLS_TERMFORCE_NEVER);
    if (terminal)
        fit(t, scols_table_get_termwidth(scols));
    for (size_t i = 0; i < n; i++)
        add_column(t, scols, i);
    for (size_t r = 0; r < t->rows; r++) {
        struct libscols_line *line = scols_table_new_line(scols, NULL);
        for (size_t i = 0; i < n; i++) {
            if (!line || scols_line_set_data(line, i, t->cells[r * n + i]) != 0)
                out_of_memory();
            free(t->cells[r * n + i]);
        }
    }
    scols_print_table(scols);
    scols_unref_table(scols);
    free(t->cells);
    free(t);
}
