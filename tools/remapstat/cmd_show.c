/* SPDX-License-Identifier: MIT */
/* remapstat PID: everything known about one process. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "columns.h"
#include "display.h"
#include "json.h"
#include "kinds.h"
#include "names.h"
#include "parse.h"
#include "remapstat.h"
#include "show_kinds.h"
#include "ways.h"

static void section(const char *title)
{
    printf("\n%s\n", title);
}

static void fact(const char *what, const char *value)
{
    printf("  %-12s %s\n", what, value);
}

static void show_identity(const struct view *v)
{
    const struct remap_stats_identity *id = &v->stats.identity;
    char comm[4 * sizeof(v->comm)], text[512], a[DISPLAY_UNIT], b[DISPLAY_UNIT];

    printf("Process %d (%s), uid %u\n", (int)v->pid, display_escape(comm, sizeof(comm), v->comm),
           (unsigned)v->uid);
    snprintf(text, sizeof(text), "%" PRIu64 " of at most %" PRIu64 " (%.1f %%)", v->vmas, v->limit,
             v->limit ? 100.0 * (double)v->vmas / (double)v->limit : 0.0);
    fact("vmas", text);
    snprintf(text, sizeof(text), "%" PRIu64 " (vmas / runs = %.2f)", v->runs,
             v->runs ? (double)v->vmas / (double)v->runs : 0.0);
    fact("runs", text);
    if (!view_shimmed(v)) {
        fact("statistics",
             "none: it does not run under the shim (libremap.so is not mapped); start "
             "it with 'remapstat run -- COMMAND'");
        return;
    }
    if (!v->has_stats) {
        fact("statistics",
             "none yet: it has not moved memory under the shim, REMAP_POLICY or REMAP_STATS "
             "is off, or no file could be made (REMAP_LOG=info says why)");
        if (v->problem[0])
            fact("", v->problem);
        return;
    }

    time_t started = (time_t)(id->started_ns / 1000000000);
    struct tm tm;
    if (localtime_r(&started, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %z", &tm))
        fact("since", text);
    fact("program", display_escape(text, sizeof(text), id->comm));
    fact("statistics", v->path);
    fact("kernel", display_escape(text, sizeof(text), id->kernel));
    fact("library", display_escape(text, sizeof(text), id->library));
    fact("tier", view_tier(v));
    snprintf(text, sizeof(text), "%s, ranges from %s, populated up to %s", view_policy(v),
             display_bytes(a, id->min_bytes), display_bytes(b, id->max_bytes));
    fact("policy", text);
    if (id->run_id) {
        snprintf(text, sizeof(text), "%" PRIu64, id->run_id);
        fact("run", text);
    }
}

static void show_probe(const struct remap_stats_identity *id)
{
    static const struct column columns[] = {{.name = "FEATURE"},
                                            {.name = "ANSWER"},
                                            {.name = "ERRNO"},
                                            {.name = "MEANING", .flags = COLUMN_WRAP}};
    const struct selection all = selection_all(4);
    struct table *t = table_new(stdout, columns, &all, false);

    section("Probe");
    for (size_t i = 0; i < REMAP_STATS_FEATURES; i++) {
        char name[DISPLAY_UNIT], answer[DISPLAY_UNIT], error[DISPLAY_UNIT];
        const struct remap_stats_feature *f = &id->features[i];
        if (i >= REMAP_FEATURE_COUNT && !f->answer)
            continue;
        table_row(t, (const char *[]){name_of(&feature_names, i, name),
                                      name_of(&answer_names, f->answer, answer),
                                      f->error ? display_errno(error, f->error) : NULL,
                                      help_of(&feature_names, i)});
    }
    table_print(t);
}

/* Counters by an enum; those that are zero are left out. */
static void show_counts(const char *title, const struct names *names, const uint64_t *counts,
                        size_t room)
{
    const struct column columns[] = {{.name = names->kind},
                                     {.name = "count", .flags = COLUMN_RIGHT},
                                     {.name = "meaning", .flags = COLUMN_WRAP}};
    const struct selection all = selection_all(3);
    struct table *t = table_new(stdout, columns, &all, true);

    section(title);
    for (size_t i = 0; i < room; i++) {
        char name[DISPLAY_UNIT], count[DISPLAY_UNIT];
        if (!counts[i])
            continue;
        snprintf(count, sizeof(count), "%" PRIu64, counts[i]);
        table_row(t, (const char *[]){name_of(names, i, name), count, help_of(names, i)});
    }
    table_print(t);
}

static void show_errnos(const char *title, const uint64_t *counts)
{
    bool any = false;

    for (size_t i = 0; i < REMAP_STATS_ERRNOS; i++) {
        char name[DISPLAY_UNIT];
        if (!counts[i])
            continue;
        if (!any)
            section(title);
        any = true;
        printf("%-12s %" PRIu64 "\n",
               i == REMAP_STATS_ERRNOS - 1 ? "higher" : display_errno(name, (int)i), counts[i]);
    }
}

static void show_tiers(const struct remap_stats_counters *c)
{
    static const struct column columns[] = {{.name = "TIER"},
                                            {.name = "MOVES", .flags = COLUMN_RIGHT},
                                            {.name = "BYTES", .flags = COLUMN_RIGHT},
                                            {.name = "TIME", .flags = COLUMN_RIGHT},
                                            {.name = "TIME/MOVE", .flags = COLUMN_RIGHT},
                                            {.name = "MEANING", .flags = COLUMN_WRAP}};
    const struct selection all = selection_all(6);
    struct table *t = table_new(stdout, columns, &all, false);

    for (size_t i = 0; i < REMAP_STATS_TIERS; i++) {
        char name[DISPLAY_UNIT], moves[DISPLAY_UNIT], bytes[DISPLAY_UNIT], ns[DISPLAY_UNIT],
            each[DISPLAY_UNIT];
        if (i >= REMAP_TIER_COUNT && !c->tier_moves[i])
            continue;
        snprintf(moves, sizeof(moves), "%" PRIu64, c->tier_moves[i]);
        table_row(t,
                  (const char *[]){
                      name_of(&tier_names, i, name), moves, display_bytes(bytes, c->tier_bytes[i]),
                      display_ns(ns, c->tier_ns[i]),
                      c->tier_moves[i] ? display_ns(each, c->tier_ns[i] / c->tier_moves[i]) : NULL,
                      help_of(&tier_names, i)});
    }
    table_print(t);
}

static void show_moves(const struct view *v)
{
    const struct remap_stats_counters *c = &v->stats.counters;

    section("Moves");
    printf("%" PRIu64 " moves, %" PRIu64 " relocated; merged %" PRIu64 " (%" PRIu64
           " to the left, %" PRIu64 " to the right); saved %" PRIu64 "; %" PRIu64
           " pages moved, %" PRIu64 " copied; %" PRIu64 " rescued\n",
           c->moves, c->relocated, view_merged(v), c->merged_left, c->merged_right, c->saved,
           c->pages_moved, c->pages_copied, c->rescued);
    if (c->spans)
        printf("%" PRIu64 " calls moved %" PRIu64 " VMAs one by one\n", c->spans, c->span_vmas);
    show_tiers(c);
}

static void show_histogram(const uint64_t *buckets)
{
    static const char bar[] = "########################################";
    size_t first = REMAP_STATS_BUCKETS, last = 0;
    uint64_t most = 0;

    for (size_t i = 0; i < REMAP_STATS_BUCKETS; i++) {
        if (!buckets[i])
            continue;
        first = first == REMAP_STATS_BUCKETS ? i : first;
        last = i;
        most = buckets[i] > most ? buckets[i] : most;
    }
    if (!most)
        return;
    section("Duration of relocations");
    for (size_t i = first; i <= last; i++) {
        char from[DISPLAY_UNIT], to[DISPLAY_UNIT];
        int width = (int)((double)buckets[i] / (double)most * (double)(sizeof(bar) - 1) + 0.5);
        printf("%8s to %-8s %10" PRIu64 " %.*s\n", display_ns(from, i ? UINT64_C(1) << i : 0),
               display_ns(to, UINT64_C(2) << i), buckets[i], width, bar);
    }
}

static void show(const struct view *v, const struct kinds *k)
{
    const struct remap_stats_counters *c = &v->stats.counters;
    char title[64];

    show_identity(v);
    section("VMAs by kind");
    show_kinds(k, v->limit);
    if (!v->has_stats)
        return;
    show_probe(&v->stats.identity);
    snprintf(title, sizeof(title), "Calls of mremap(): %" PRIu64 ", by outcome", c->calls);
    show_counts(title, &outcome_names, c->outcomes, REMAP_STATS_OUTCOMES);
    show_counts("Calls by reason", &reason_names, c->reasons, REMAP_STATS_REASONS);
    ways_show(&v->stats);
    show_errnos("Calls that failed, by errno", c->call_errnos);
    show_moves(v);
    show_histogram(c->histogram);
    show_errnos("Failures of engine steps, by errno", c->step_errnos);
    if (view_step_errors(v))
        show_counts("Failures by step", &step_names, c->steps, REMAP_STATS_STEPS);
}

int cmd_show(const struct args *a)
{
    const struct selection everything = selection_all(PROCESS_COLUMN_COUNT);
    struct selection columns;
    struct kinds kinds;
    struct view v;
    uint64_t pid;
    int status;

    if (!parse_pid(a->argv[0], &pid) ||
        !selection_parse(&columns, a->columns, a->json ? &everything : &list_default,
                         process_columns, PROCESS_COLUMN_COUNT))
        return STATUS_USAGE;
    /* Columns are about the statistics; who asks for everything also gets what there is of a
     * process without them. */
    status = a->columns ? view_read_or_say(&v, (pid_t)pid)
                        : view_say(&v, view_read_kinds(&v, (pid_t)pid, &kinds, a->jvm), false);
    if (status != STATUS_OK)
        return status;
    if (!a->columns && kinds.problem[0])
        say("process %d: the JVM could not be asked: %s", (int)v.pid, kinds.problem);

    if (a->json) {
        json_print(stdout, a->columns ? json_process(&v, &columns) : json_details(&v, &kinds),
                   false);
    } else if (a->columns) {
        struct table *t = table_new(stdout, process_columns, &columns, a->noheadings);
        process_row(t, &v);
        table_print(t);
    } else {
        show(&v, &kinds);
    }
    return STATUS_OK;
}
