/* SPDX-License-Identifier: MIT */
/* remapstat env: the options in effect for programs started from here, and where each came from. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "display.h"
#include "json.h"
#include "names.h"
#include "options.h"
#include "remapstat.h"
#include "stats_dir.h"
#include "table.h"

static const struct column env_columns[] = {
    {.name = "VARIABLE", .key = "variable"},
    {.name = "VALUE", .key = "value"},
    {.name = "FROM", .key = "from"},
    {.name = "DEFAULT", .key = "default"},
    {.name = "ALLOWED", .key = "allowed", .flags = COLUMN_WRAP},
    {.name = "HELP", .key = "help", .flags = COLUMN_WRAP},
};
enum { ENV_COLUMNS = sizeof(env_columns) / sizeof(env_columns[0]) };
static const struct selection env_default = {5, {0, 1, 2, 4, 5}};

/* The n-th of "one|two|three". */
static void nth_word(char *out, size_t size, const char *words, size_t n)
{
    for (; n; n--)
        words += strcspn(words, "|") + 1;
    snprintf(out, size, "%.*s", (int)strcspn(words, "|"), words);
}

/* As REMAP_MAX_BYTES would be written: exactly, with the largest suffix that divides it. */
static void size_text(char *out, size_t size, uint64_t bytes)
{
    static const char suffixes[] = "\0KMG";
    int n = 0;

    while (n < 3 && bytes && bytes % 1024 == 0) {
        bytes /= 1024;
        n++;
    }
    snprintf(out, size, n ? "%" PRIu64 "%c" : "%" PRIu64, bytes, suffixes[n]);
}

static void engines_text(char *out, size_t size, const struct remap_options *o)
{
    size_t length = 0;

    for (size_t i = 0; o->engines[i] != REMAP_TIER_NONE && length < size; i++)
        length += (size_t)snprintf(out + length, size - length, "%s,",
                                   tier_names.list[o->engines[i]].key);
    if (length < size)
        snprintf(out + length, size - length, "%s", tier_names.list[REMAP_TIER_NONE].key);
}

static void catch_text(char *out, size_t size, const struct remap_options *o)
{
    size_t length = 0;

    for (size_t way = 0; way < REMAP_WAY_COUNT; way++) {
        if (options_catch(o, (enum remap_way)way) && length < size)
            length += (size_t)snprintf(out + length, size - length, "%s%s", length ? "," : "",
                                       way_names.list[way].key);
    }
}

/* The effective value, raw. */
static void value_of(char *out, size_t size, const struct remap_options *o, enum remap_option id)
{
    const char *allowed = remap_option_table[id].allowed;

    out[0] = '\0';
    switch (id) {
    case OPTION_POLICY:
        nth_word(out, size, allowed, o->policy);
        break;
    case OPTION_ENGINE:
        engines_text(out, size, o);
        break;
    case OPTION_MIN_BYTES:
        size_text(out, size, o->min_bytes);
        break;
    case OPTION_MAX_BYTES:
        size_text(out, size, o->max_bytes);
        break;
    case OPTION_MULTI:
        nth_word(out, size, allowed, o->multi);
        break;
    case OPTION_CATCH:
        catch_text(out, size, o);
        break;
    case OPTION_TRAP:
        nth_word(out, size, allowed, o->trap);
        break;
    case OPTION_CALLERS:
        snprintf(out, size, "%" PRIu32, o->callers);
        break;
    case OPTION_EXE:
        snprintf(out, size, "%s", o->exe);
        break;
    case OPTION_INSIST:
        nth_word(out, size, allowed, o->insist);
        break;
    case OPTION_STATS:
        nth_word(out, size, allowed, o->stats);
        break;
    case OPTION_STATS_DIR:
        stats_dir_path(out, size, o, 0);
        break;
    case OPTION_LOG:
        nth_word(out, size, allowed, o->log);
        break;
    case OPTION_LOG_FILE:
        snprintf(out, size, "%s", o->log_file);
        break;
    case OPTION_RUN_ID:
        snprintf(out, size, "%" PRIu64, o->run_id);
        break;
    case OPTION_COUNT:
        break;
    }
}

static bool is_bad(const struct remap_options *o, enum remap_option id)
{
    return o->bad >> id & 1;
}

static void add_row(struct table *t, const struct remap_options *o, enum remap_option id)
{
    const struct remap_option_info *info = &remap_option_table[id];
    char raw[512], value[2048], bad[256], from[300];

    value_of(raw, sizeof(raw), o, id);
    display_escape(value, sizeof(value), raw);
    if (is_bad(o, id))
        snprintf(from, sizeof(from), "default (environment: '%s' is invalid)",
                 display_escape(bad, sizeof(bad), o->raw[id]));
    else
        snprintf(from, sizeof(from), "%s", o->raw[id] ? "environment" : "default");
    table_row(t, (const char *[]){info->variable, value[0] ? value : NULL, from,
                                  info->fallback[0] ? info->fallback : NULL, info->allowed,
                                  info->help});
}

static json_t *json_row(const struct remap_options *o, enum remap_option id)
{
    const struct remap_option_info *info = &remap_option_table[id];
    json_t *row = json_new_object();
    char raw[512];

    value_of(raw, sizeof(raw), o, id);
    json_set(row, "variable", json_string(info->variable));
    if (id == OPTION_MIN_BYTES)
        json_set(row, "value", json_number(o->min_bytes));
    else if (id == OPTION_MAX_BYTES)
        json_set(row, "value", json_number(o->max_bytes));
    else
        json_set(row, "value", json_text(raw));
    json_set(row, "from",
             json_string(is_bad(o, id) ? "invalid"
                         : o->raw[id]  ? "environment"
                                       : "default"));
    json_set(row, "raw", o->raw[id] ? json_text(o->raw[id]) : json_null());
    json_set(row, "default", json_string(info->fallback));
    json_set(row, "allowed", json_string(info->allowed));
    json_set(row, "help", json_string(info->help));
    return row;
}

/* A misspelt variable is ignored by the library without a word: here is the place to notice. */
static void say_unknown_variables(void)
{
    for (char **e = environ; *e; e++) {
        size_t len = strcspn(*e, "=");
        bool known = false;
        char name[128];
        if (strncmp(*e, "REMAP_", 6) != 0)
            continue;
        for (int id = 0; id < OPTION_COUNT; id++)
            known = known || (strlen(remap_option_table[id].variable) == len &&
                              strncmp(*e, remap_option_table[id].variable, len) == 0);
        if (!known)
            say("%.*s is set, but there is no such option", (int)len,
                display_escape(name, sizeof(name), *e));
    }
}

int cmd_env(const struct args *a)
{
    struct remap_options o;
    struct selection columns;

    if (!selection_parse(&columns, a->columns, &env_default, env_columns, ENV_COLUMNS))
        return STATUS_USAGE;
    options_parse(&o, environ);
    if (a->json) {
        json_t *array = json_new_array();
        for (int id = 0; id < OPTION_COUNT; id++)
            json_add(array, json_row(&o, (enum remap_option)id));
        json_print(stdout, array, false);
    } else {
        struct table *t = table_new(stdout, env_columns, &columns, a->noheadings);
        for (int id = 0; id < OPTION_COUNT; id++)
            add_row(t, &o, (enum remap_option)id);
        table_print(t);
    }
    say_unknown_variables();
    return STATUS_OK;
}
