/* SPDX-License-Identifier: MIT */
/* remapstat sites PID: where a process moves memory from. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "display.h"
#include "json.h"
#include "names.h"
#include "options.h"
#include "parse.h"
#include "remapstat.h"
#include "stats_dir.h"
#include "statsfile.h"
#include "symbols.h"
#include "table.h"
#include "view.h"

enum site_column {
    SITE_MOVES,
    SITE_BYTES,
    SITE_RELOCATED,
    SITE_MERGED,
    SITE_TIME,
    SITE_VIA,
    SITE_DEPTH,
    SITE_SITE,
    SITE_STACK,
    SITE_COLUMNS
};

static const struct column columns[SITE_COLUMNS] = {
    {"MOVES", "moves", "calls from there that moved memory", COLUMN_RIGHT, 7},
    {"BYTES", "bytes", "address range that they moved", COLUMN_RIGHT, 7},
    {"RELOCATED", "relocated", "of these moves, relocations", COLUMN_RIGHT, 9},
    {"MERGED", "merged", "sides on which relocated ranges merged", COLUMN_RIGHT, 7},
    {"TIME", "time_ns", "time that the moves took that were timed", COLUMN_RIGHT, 8},
    {"VIA", "via", "the way by which the calls arrived", 0, 7},
    {"DEPTH", "depth", "frames that are known", COLUMN_RIGHT, 5},
    {"SITE", "site", "the innermost frame", 0, 4},
    {"STACK", "frames", "all frames, the innermost first", COLUMN_WRAP, 5},
};

/* What is shown where no columns are asked for; the stack has lines of its own. */
static const struct selection text_default = {
    6, {SITE_MOVES, SITE_BYTES, SITE_RELOCATED, SITE_MERGED, SITE_TIME, SITE_VIA}};

struct subject {
    pid_t pid;
    bool alive;
    char comm[4 * 72]; /* escaped */
    struct statsfile_sites sites;
    struct symbols *symbols; /* NULL: addresses only */
};

/* ---- one frame ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* "function+0x1f (object) [file.c:12]", "object+0x1234", "0x7f0012345678"; escaped. */
static void frame_text(char *out, size_t size, struct symbols *symbols, uint64_t address)
{
    struct symbol s = symbols_find(symbols, address);
    char function[512], object[256], file[256];
    size_t n;

    display_escape(object, sizeof(object), s.object ? base_name(s.object) : "");
    if (s.function)
        n = (size_t)snprintf(out, size, "%s+0x%" PRIx64,
                             display_escape(function, sizeof(function), s.function), s.offset);
    else if (s.object)
        n = (size_t)snprintf(out, size, "%s+0x%" PRIx64, object, s.offset);
    else
        n = (size_t)snprintf(out, size, "0x%" PRIx64, address);
    if (s.function && s.object && n < size)
        n += (size_t)snprintf(out + n, size - n, " (%s)", object);
    if (s.file && n < size)
        snprintf(out + n, size - n, " [%s:%d]",
                 display_escape(file, sizeof(file), base_name(s.file)), s.line);
}

static json_t *text_or_null(const char *text)
{
    return text ? json_text(text) : json_null();
}

static json_t *frame_json(struct symbols *symbols, uint64_t address)
{
    struct symbol s = symbols_find(symbols, address);
    json_t *frame = json_new_object();
    char hex[DISPLAY_UNIT];

    snprintf(hex, sizeof(hex), "0x%" PRIx64, address);
    json_set(frame, "address", json_string(hex));
    json_set(frame, "function", text_or_null(s.function));
    json_set(frame, "object", text_or_null(s.object));
    json_set(frame, "offset", s.function || s.object ? json_number(s.offset) : json_null());
    json_set(frame, "file", text_or_null(s.file));
    json_set(frame, "line", s.file ? json_number((uint64_t)s.line) : json_null());
    return frame;
}

/* ---- one site ---- */

#define FRAME_TEXT 1024

static void site_row(struct table *t, const struct subject *s, const struct remap_stats_site *site,
                     const char *stack)
{
    char moves[DISPLAY_UNIT], bytes[DISPLAY_UNIT], relocated[DISPLAY_UNIT], merged[DISPLAY_UNIT],
        ns[DISPLAY_UNIT], depth[DISPLAY_UNIT], via[DISPLAY_UNIT], innermost[FRAME_TEXT];

    snprintf(moves, sizeof(moves), "%" PRIu64, site->moves);
    snprintf(relocated, sizeof(relocated), "%" PRIu64, site->relocated);
    snprintf(merged, sizeof(merged), "%" PRIu64, site->merged);
    snprintf(depth, sizeof(depth), "%u", (unsigned)site->depth);
    frame_text(innermost, sizeof(innermost), s->symbols, site->frames[0]);
    table_row(t, (const char *[SITE_COLUMNS]){
                     [SITE_MOVES] = moves,
                     [SITE_BYTES] = display_bytes(bytes, site->bytes),
                     [SITE_RELOCATED] = relocated,
                     [SITE_MERGED] = merged,
                     [SITE_TIME] = display_ns(ns, site->ns),
                     [SITE_VIA] = name_of(&way_names, site->way, via),
                     [SITE_DEPTH] = depth,
                     [SITE_SITE] = innermost,
                     [SITE_STACK] = stack,
                 });
}

/* All frames on one line, as profilers' tools take them, but the innermost first. */
static char *folded(const struct subject *s, const struct remap_stats_site *site)
{
    char *text = calloc(site->depth, FRAME_TEXT + 1);
    size_t n = 0;

    if (!text)
        out_of_memory();
    for (unsigned i = 0; i < site->depth; i++) {
        if (i)
            text[n++] = ';';
        frame_text(text + n, FRAME_TEXT, s->symbols, site->frames[i]);
        n += strlen(text + n);
    }
    return text;
}

static json_t *site_json(const struct subject *s, const struct remap_stats_site *site,
                         const struct selection *selection)
{
    json_t *object = json_new_object();
    char name[DISPLAY_UNIT], text[FRAME_TEXT];

    for (size_t c = 0; c < selection->count; c++) {
        json_t *value = NULL;
        switch ((enum site_column)selection->index[c]) {
        case SITE_MOVES:
            value = json_number(site->moves);
            break;
        case SITE_BYTES:
            value = json_number(site->bytes);
            break;
        case SITE_RELOCATED:
            value = json_number(site->relocated);
            break;
        case SITE_MERGED:
            value = json_number(site->merged);
            break;
        case SITE_TIME:
            value = json_number(site->ns);
            break;
        case SITE_VIA:
            value = json_string(name_of(&way_names, site->way, name));
            break;
        case SITE_DEPTH:
            value = json_number(site->depth);
            break;
        case SITE_SITE:
            frame_text(text, sizeof(text), s->symbols, site->frames[0]);
            value = json_string(text);
            break;
        case SITE_STACK:
            value = json_new_array();
            for (unsigned i = 0; i < site->depth; i++)
                json_add(value, frame_json(s->symbols, site->frames[i]));
            break;
        case SITE_COLUMNS:
            continue;
        }
        json_set(object, columns[selection->index[c]].key, value);
    }
    return object;
}

/* ---- all of them ---- */

static int hottest_first(const void *a, const void *b)
{
    const struct remap_stats_site *x = a, *y = b;

    if (x->moves != y->moves)
        return x->moves < y->moves ? 1 : -1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return (x->key > y->key) - (x->key < y->key);
}

static void show_stacks(const struct subject *s, bool noheadings)
{
    printf("Process %d (%s): moves from %zu call site%s, stacks of up to %u frames\n", (int)s->pid,
           s->comm, s->sites.count, s->sites.count == 1 ? "" : "s", (unsigned)s->sites.depth);
    for (size_t i = 0; i < s->sites.count; i++) {
        const struct remap_stats_site *site = &s->sites.list[i];
        struct table *t = table_new(stdout, columns, &text_default, noheadings);
        putchar('\n');
        site_row(t, s, site, NULL);
        table_print(t);
        for (unsigned f = 0; f < site->depth; f++) {
            char text[FRAME_TEXT];
            frame_text(text, sizeof(text), s->symbols, site->frames[f]);
            printf("  %2u  %s\n", f, text);
        }
    }
    if (s->sites.dropped)
        printf("\n%" PRIu64 " moves more are not in here: their stack could not be read, or the "
               "table was full\n",
               s->sites.dropped);
}

static void show_table(const struct subject *s, const struct selection *selection, bool noheadings)
{
    struct table *t = table_new(stdout, columns, selection, noheadings);

    for (size_t i = 0; i < s->sites.count; i++) {
        char *stack = folded(s, &s->sites.list[i]);
        site_row(t, s, &s->sites.list[i], stack);
        free(stack);
    }
    table_print(t);
    if (s->sites.dropped)
        say("%" PRIu64 " moves more are not in the table", s->sites.dropped);
}

static void show_json(const struct subject *s, const struct selection *selection)
{
    json_t *object = json_new_object(), *sites = json_new_array();

    json_set(object, "pid", json_number((uint64_t)s->pid));
    json_set(object, "comm", json_string(s->comm));
    json_set(object, "alive", json_boolean(s->alive));
    json_set(object, "symbols", json_boolean(s->symbols != NULL));
    json_set(object, "depth", json_number(s->sites.depth));
    json_set(object, "dropped", json_number(s->sites.dropped));
    for (size_t i = 0; i < s->sites.count; i++)
        json_add(sites, site_json(s, &s->sites.list[i], selection));
    json_set(object, "sites", sites);
    json_print(stdout, object, false);
}

/* ---- finding the file ---- */

struct search {
    const struct procfs *p;
    struct procfs_stat stat;
    struct procfs_status status;
    struct remap_stats stats;
    int fd; /* -1 until it is found */
};

static void look_at(const struct procfs_map *map, void *arg)
{
    struct search *s = arg;
    struct statsfile_candidate candidate;
    char why[STATSFILE_WHY];

    if (s->fd >= 0 || !statsfile_is_candidate(map, &candidate))
        return;
    statsfile_open_of_process(s->p, &s->stat, &s->status, &candidate, &s->stats, why, &s->fd);
    free(candidate.path);
}

/* The file of a living process, and a copy of what it says. -1: none. */
static int find_file(pid_t pid, struct remap_stats *stats)
{
    struct search s = {.fd = -1};
    struct procfs p;

    if (procfs_open(&p, pid) != 0)
        return -1;
    s.p = &p;
    if (procfs_stat(&p, &s.stat) == 0 && procfs_status(&p, &s.status) == 0)
        procfs_maps(&p, look_at, &s);
    procfs_close(&p);
    *stats = s.stats;
    return s.fd;
}

/* Of the files of one name in a directory, "PID" and "PID.n" (n: what it executed later, if the
 * earlier file was kept), the latest. Replaces *best and *stats if it is later than that. */
static void find_latest(int dir, pid_t pid, int *best, struct remap_stats *stats)
{
    char name[DISPLAY_UNIT], why[STATSFILE_WHY];
    struct remap_stats found = {0};

    for (unsigned n = 0; n <= 16; n++) { /* as many as the library makes */
        int fd;
        if (n == 0)
            snprintf(name, sizeof(name), "%d", (int)pid);
        else
            snprintf(name, sizeof(name), "%d.%u", (int)pid, n);
        fd = statsfile_openat(dir, name);
        if (fd < 0)
            continue;
        if (statsfile_load(fd, &found, why) == STATSFILE_GOOD &&
            found.identity.pid == (uint32_t)pid &&
            (*best < 0 || found.identity.started_ns > stats->identity.started_ns)) {
            if (*best >= 0)
                close(*best);
            *best = fd;
            *stats = found;
        } else {
            close(fd);
        }
    }
}

/* The file that a process has left behind (REMAP_STATS=keep). -1: none. */
static int find_left_file(pid_t pid, struct remap_stats *stats)
{
    struct remap_options o;
    char path[512];
    int best = -1;

    options_parse(&o, environ);
    for (unsigned n = 0; stats_dir_path(path, sizeof(path), &o, n); n++) {
        int dir = stats_dir_open(path);
        if (dir < 0)
            continue;
        find_latest(dir, pid, &best, stats);
        close(dir);
    }
    return best;
}

/* Fills in *s; an exit status. */
static int find_sites(struct subject *s)
{
    struct remap_stats stats = {0};
    char why[STATSFILE_WHY];
    struct view v;
    int fd = -1, status = STATUS_OK;
    bool good;

    s->alive = view_read(&v, s->pid) != -ESRCH;
    if (!s->alive)
        fd = find_left_file(s->pid, &stats);
    if (fd < 0) {
        status = view_read_or_say(&v, s->pid);
        if (status != STATUS_OK)
            return status;
        s->alive = true;
        fd = find_file(s->pid, &stats);
    }
    display_escape(s->comm, sizeof(s->comm), s->alive ? v.comm : stats.identity.comm);
    if (fd < 0) {
        say("process %d (%s) has no statistics: it has not moved memory under the shim yet, or "
            "REMAP_POLICY or REMAP_STATS is off",
            (int)s->pid, s->comm);
        return STATUS_FAILURE;
    }
    good = statsfile_load_sites(fd, &stats, &s->sites, why);
    close(fd);
    if (!good) {
        say("process %d (%s) has no usable call sites: %s", (int)s->pid, s->comm, why);
        return STATUS_FAILURE;
    }
    if (!s->sites.there) {
        say("process %d (%s) does not record where moves are called from: start it with "
            "REMAP_CALLERS=16 (and see what it says about libunwind)",
            (int)s->pid, s->comm);
        return STATUS_FAILURE;
    }
    return STATUS_OK;
}

int cmd_sites(const struct args *a)
{
    const struct selection everything = selection_all(SITE_COLUMNS);
    struct selection selection;
    struct subject s = {0};
    uint64_t pid;
    int status;

    if (!parse_pid(a->argv[0], &pid) ||
        !selection_parse(&selection, a->columns, a->json ? &everything : &text_default, columns,
                         SITE_COLUMNS))
        return STATUS_USAGE;
    s.pid = (pid_t)pid;
    status = find_sites(&s);
    if (status != STATUS_OK)
        return status;
    if (s.sites.count)
        qsort(s.sites.list, s.sites.count, sizeof(*s.sites.list), hottest_first);
    s.symbols = s.alive ? symbols_open(s.pid) : NULL;
    if (!s.symbols)
        say("process %d (%s) %s: addresses only", (int)s.pid, s.comm,
            s.alive ? "cannot be looked into for names" : "has ended, and what it mapped is gone");
    if (a->json)
        show_json(&s, &selection);
    else if (a->columns)
        show_table(&s, &selection, a->noheadings);
    else
        show_stacks(&s, a->noheadings);
    symbols_close(s.symbols);
    free(s.sites.list);
    return STATUS_OK;
}
