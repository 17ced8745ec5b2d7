/* SPDX-License-Identifier: MIT */
#include "ways.h"

#include <inttypes.h>
#include <stdio.h>

#include "display.h"
#include "json.h"
#include "names.h"
#include "table.h"

static bool has_ways(const struct remap_stats *s)
{
    return s->version_minor >= 2;
}

/* Asked for, and not possible. */
static bool is_refused(const struct remap_stats_way *way)
{
    return !way->seen && way->why > REMAP_WHY_INERT;
}

void ways_show(const struct remap_stats *s)
{
    static const struct column columns[] = {{.name = "WAY"},
                                            {.name = "CALLS", .flags = COLUMN_RIGHT},
                                            {.name = "MEANING", .flags = COLUMN_WRAP},
                                            {.name = "SEEN"},
                                            {.name = "ERRNO"},
                                            {.name = "WHY", .flags = COLUMN_WRAP}};
    const struct selection all = selection_all(6);
    struct table *t;

    if (!has_ways(s))
        return;
    printf("\nCalls by way\n");
    t = table_new(stdout, columns, &all, false);
    for (size_t i = 0; i < REMAP_STATS_WAYS; i++) {
        const struct remap_stats_way *way = &s->ways[i];
        char name[DISPLAY_UNIT], calls[DISPLAY_UNIT], error[DISPLAY_UNIT];
        if (i >= REMAP_WAY_COUNT && !way->calls)
            continue;
        snprintf(calls, sizeof(calls), "%" PRIu64, way->calls);
        table_row(t, (const char *[]){name_of(&way_names, i, name), calls, help_of(&way_names, i),
                                      way->seen ? "yes" : "no",
                                      way->error ? display_errno(error, way->error) : NULL,
                                      help_of(&why_names, way->why)});
    }
    table_print(t);
}

json_t *ways_json(const struct remap_stats *s)
{
    json_t *object;

    if (!has_ways(s))
        return json_null();
    object = json_new_object();
    for (size_t i = 0; i < REMAP_STATS_WAYS; i++) {
        const struct remap_stats_way *way = &s->ways[i];
        char name[DISPLAY_UNIT], error[DISPLAY_UNIT], why[DISPLAY_UNIT];
        json_t *entry;
        if (i >= REMAP_WAY_COUNT && !way->calls)
            continue;
        entry = json_new_object();
        json_set(entry, "calls", json_number(way->calls));
        json_set(entry, "seen", json_boolean(way->seen));
        json_set(entry, "why", json_string(name_of(&why_names, way->why, why)));
        json_set(entry, "errno", json_number(way->error));
        json_set(entry, "error",
                 way->error ? json_string(display_errno(error, way->error)) : json_null());
        json_set(object, name_of(&way_names, i, name), entry);
    }
    return object;
}

void ways_add(struct remap_stats *sum, const struct remap_stats *s)
{
    if (!has_ways(s))
        return;
    sum->version_minor = s->version_minor;
    for (size_t i = 0; i < REMAP_STATS_WAYS; i++) {
        sum->ways[i].calls += s->ways[i].calls;
        sum->ways[i].seen |= s->ways[i].seen;
        if (!sum->ways[i].why) {
            sum->ways[i].why = s->ways[i].why;
            sum->ways[i].error = s->ways[i].error;
        }
    }
}

void ways_summarize(const struct remap_stats *sum)
{
    bool more = false;

    for (size_t i = 1; i < REMAP_STATS_WAYS; i++)
        more = more || sum->ways[i].calls;
    if (!has_ways(sum) || !more)
        return;
    fputs("calls by way:", stderr);
    for (size_t i = 0, n = 0; i < REMAP_STATS_WAYS; i++) {
        char name[DISPLAY_UNIT];
        if (sum->ways[i].calls)
            fprintf(stderr, "%s %s %" PRIu64, n++ ? "," : "", name_of(&way_names, i, name),
                    sum->ways[i].calls);
    }
    fputc('\n', stderr);
}

void ways_say_refused(const struct remap_stats *s)
{
    char comm[4 * sizeof(s->identity.comm)];

    for (size_t i = 0; has_ways(s) && i < REMAP_STATS_WAYS; i++) {
        char name[DISPLAY_UNIT], error[DISPLAY_UNIT];
        const struct remap_stats_way *way = &s->ways[i];
        if (is_refused(way))
            say("process %" PRIu32 " (%s): --catch %s is not possible: %s%s%s%s", s->identity.pid,
                display_escape(comm, sizeof(comm), s->identity.comm), name_of(&way_names, i, name),
                help_of(&why_names, way->why), way->error ? " (" : "",
                way->error ? display_errno(error, way->error) : "", way->error ? ")" : "");
    }
}
