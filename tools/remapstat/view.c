/* SPDX-License-Identifier: MIT */
#include "view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "display.h"
#include "kinds.h"
#include "names.h"
#include "procfs.h"
#include "remapstat.h"
#include "statsfile.h"

/* A program may map any number of shared files with names like ours; the library maps one. */
#define CANDIDATES 64

struct survey {
    struct view *v;
    struct mappings *mappings; /* NULL if nobody wants to know */
    struct statsfile_candidate candidates[CANDIDATES];
    size_t candidate_count;
    /* the previous line, if it was private anonymous memory */
    bool previous;
    uint64_t previous_end;
    char previous_perms[5];
    char previous_name[128];
};

static bool private_anonymous(const struct procfs_map *m)
{
    return m->perms[3] == 'p' && m->inode == 0 &&
           (!m->name[0] || strcmp(m->name, "[heap]") == 0 || strncmp(m->name, "[anon:", 6) == 0);
}

static bool names_library(const char *name)
{
    static const char library[] = "libremap.so";
    const char *base = strrchr(name, '/');

    return base && strncmp(base + 1, library, sizeof(library) - 1) == 0;
}

static void survey_line(const struct procfs_map *m, void *arg)
{
    struct survey *s = arg;
    bool anonymous = private_anonymous(m);

    s->v->vmas++;
    if (s->mappings)
        mappings_add(s->mappings, m);
    if (!(anonymous && s->previous && s->previous_end == m->start &&
          strcmp(s->previous_perms, m->perms) == 0 && strcmp(s->previous_name, m->name) == 0))
        s->v->runs++;
    /* Names of anonymous memory have at most 80 bytes; a longer one would only not be counted as
     * equal. */
    s->previous = anonymous && strlen(m->name) < sizeof(s->previous_name);
    if (s->previous) {
        s->previous_end = m->end;
        memcpy(s->previous_perms, m->perms, sizeof(s->previous_perms));
        memcpy(s->previous_name, m->name, strlen(m->name) + 1);
    }
    if (anonymous)
        return;
    if (names_library(m->name))
        s->v->shim = true;
    if (s->candidate_count < CANDIDATES &&
        statsfile_is_candidate(m, &s->candidates[s->candidate_count]))
        s->candidate_count++;
}

/* Looks for the file of the process among the candidates; the most telling problem is kept. */
static void find_statistics(struct view *v, const struct procfs *p, const struct procfs_stat *stat,
                            const struct procfs_status *status, const struct survey *s)
{
    enum statsfile_verdict verdict, worst = STATSFILE_FOREIGN;
    char why[STATSFILE_WHY] = "", path[sizeof(v->path)];

    for (size_t i = 0; i < s->candidate_count && !v->has_stats; i++) {
        verdict = statsfile_of_process(p, stat, status, &s->candidates[i], &v->stats, why);
        display_escape(path, sizeof(path), s->candidates[i].path);
        if (verdict == STATSFILE_GOOD) {
            v->has_stats = true;
            v->stats_start = s->candidates[i].start;
            memcpy(v->path, path, sizeof(path));
            v->problem[0] = '\0';
        } else if (verdict <= worst && (v->shim || verdict > STATSFILE_ALIEN)) {
            worst = verdict;
            snprintf(v->problem, sizeof(v->problem), "%s: %s", path, why);
        }
    }
    /* A file of the parent that a fork() left mapped, or one that is just being written, is no
     * defect: the process has no statistics of its own yet. */
    v->damaged = !v->has_stats && v->problem[0] && worst < STATSFILE_STARTING;
}

static void find_kinds(const struct view *v, const struct procfs *p,
                       const struct procfs_status *status, struct mappings *mappings,
                       struct kinds *kinds, bool ask)
{
    struct kinds_hints hints = {.shim = view_shimmed(v),
                                .stats_start = v->stats_start,
                                .caught = status->caught,
                                .ask = ask};

    kinds_find(kinds, mappings, p, &hints);
}

int view_read(struct view *v, pid_t pid)
{
    return view_read_kinds(v, pid, NULL, false);
}

int view_read_kinds(struct view *v, pid_t pid, struct kinds *kinds, bool ask)
{
    struct mappings mappings = {0};
    struct survey *s;
    struct procfs p;
    struct procfs_stat stat;
    struct procfs_status status;
    int result;

    memset(v, 0, sizeof(*v));
    v->pid = pid;
    result = procfs_open(&p, pid);
    if (result < 0)
        return result;
    s = calloc(1, sizeof(*s));
    if (!s)
        out_of_memory();
    s->v = v;
    s->mappings = kinds ? &mappings : NULL;

    result = procfs_stat(&p, &stat);
    if (result == 0)
        result = procfs_status(&p, &status);
    if (result == 0) {
        memcpy(v->comm, stat.comm, sizeof(v->comm));
        v->uid = status.uid[1];
        result = stat.state == 'Z' || stat.state == 'X' ? -ESRCH : procfs_maps(&p, survey_line, s);
    }
    if (result == 0)
        find_statistics(v, &p, &stat, &status, s);
    if (result == 0 && kinds)
        find_kinds(v, &p, &status, &mappings, kinds, ask);
    /* Once more: a process that exits while we look has fewer mappings than it had. */
    if (result == 0) {
        result = procfs_stat(&p, &stat);
        if (result == 0 && (stat.state == 'Z' || stat.state == 'X'))
            result = -ESRCH;
    }
    if (result == 0)
        result = procfs_number("/proc/sys/vm/max_map_count", &v->limit);
    v->alive = result == 0;

    for (size_t i = 0; i < s->candidate_count; i++)
        free(s->candidates[i].path);
    free(s);
    mappings_free(&mappings);
    procfs_close(&p);
    return result;
}

int view_read_or_say(struct view *v, pid_t pid)
{
    return view_say(v, view_read(v, pid), true);
}

int view_say(const struct view *v, int result, bool needs_shim)
{
    char comm[4 * sizeof(v->comm)], name[DISPLAY_UNIT];
    pid_t pid = v->pid;

    display_escape(comm, sizeof(comm), v->comm);
    if (result == -ESRCH) {
        say("process %d: there is no such process, or it has just ended", (int)pid);
        return STATUS_FAILURE;
    }
    if (result == -EACCES || result == -EPERM) {
        say("process %d (%s), uid %u: not permitted to look into it: %s", (int)pid, comm,
            (unsigned)v->uid,
            geteuid() == 0 ? "root lacks CAP_SYS_PTRACE here (a container?)"
                           : "it is another user's or has raised rights; run remapstat as root");
        return STATUS_FAILURE;
    }
    if (result < 0) {
        say("process %d (%s): /proc/%d cannot be read: %s", (int)pid, comm, (int)pid,
            display_errno(name, -result));
        return STATUS_FAILURE;
    }
    if (v->damaged) {
        say("process %d (%s) has no usable statistics: %s", (int)pid, comm, v->problem);
        return STATUS_FAILURE;
    }
    if (needs_shim && !view_shimmed(v)) {
        say("process %d (%s) does not run under the shim: libremap.so is not mapped there; start "
            "the "
            "program with 'remapstat run -- COMMAND'",
            (int)pid, comm);
        return STATUS_FAILURE;
    }
    return STATUS_OK;
}

bool view_shimmed(const struct view *v)
{
    return v->shim || v->has_stats;
}

uint64_t view_merged(const struct view *v)
{
    return v->stats.counters.merged_left + v->stats.counters.merged_right;
}

uint64_t view_bytes_moved(const struct view *v)
{
    const uint64_t *bytes = v->stats.counters.tier_bytes;

    return bytes[REMAP_TIER_NATIVE] + bytes[REMAP_TIER_UFFD] + bytes[REMAP_TIER_COPY];
}

uint64_t view_nanoseconds(const struct view *v)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < REMAP_STATS_TIERS; i++)
        sum += v->stats.counters.tier_ns[i];
    return sum;
}

uint64_t view_step_errors(const struct view *v)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < REMAP_STATS_STEPS; i++)
        sum += v->stats.counters.steps[i];
    return sum;
}

const char *view_tier(const struct view *v)
{
    return v->stats.identity.tier < REMAP_TIER_COUNT ? tier_names.list[v->stats.identity.tier].key
                                                     : "unknown";
}

const char *view_policy(const struct view *v)
{
    static const char *const names[] = {"off", "observe", "auto", "always"};

    return v->stats.identity.policy < 4 ? names[v->stats.identity.policy] : "unknown";
}

/* The counters are nothing but 64-bit words, which the layout promises. */
#define WORDS (sizeof(struct remap_stats_counters) / sizeof(uint64_t))
_Static_assert(sizeof(struct remap_stats_counters) % sizeof(uint64_t) == 0, "words only");

void view_counters_subtract(struct remap_stats_counters *a, const struct remap_stats_counters *b)
{
    uint64_t x[WORDS], y[WORDS];

    memcpy(x, a, sizeof(x));
    memcpy(y, b, sizeof(y));
    for (size_t i = 0; i < WORDS; i++)
        x[i] = x[i] > y[i] ? x[i] - y[i] : 0;
    memcpy(a, x, sizeof(x));
}

void view_counters_add(struct remap_stats_counters *a, const struct remap_stats_counters *b)
{
    uint64_t x[WORDS], y[WORDS];

    memcpy(x, a, sizeof(x));
    memcpy(y, b, sizeof(y));
    for (size_t i = 0; i < WORDS; i++)
        x[i] += y[i];
    memcpy(a, x, sizeof(x));
}
