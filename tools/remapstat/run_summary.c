/* SPDX-License-Identifier: MIT */
/*
 * The end of `remapstat run`: the statistics files of this run are read, shown, summed, and removed
 * if their process is gone. A file that can be locked belongs to nobody any more.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "columns.h"
#include "display.h"
#include "json.h"
#include "options.h"
#include "run.h"
#include "stats_dir.h"
#include "statsfile.h"
#include "ways.h"

struct harvest {
    uint64_t run_id;
    bool keep;
    struct view *rows;
    size_t count, room;
    size_t running;
};

/* Removes the file behind `fd`, which we have locked, if that is what the name still means. */
static void remove_file(int dir, const char *name, int fd)
{
    struct stat ours, there;

    if (fstat(fd, &ours) == 0 && fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
        ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
        unlinkat(dir, name, 0);
}

static struct view *new_row(struct harvest *h)
{
    if (h->count == h->room) {
        h->room = h->room ? 2 * h->room : 16;
        h->rows = reallocarray(h->rows, h->room, sizeof(*h->rows));
        if (!h->rows)
            out_of_memory();
    }
    memset(&h->rows[h->count], 0, sizeof(*h->rows));
    return &h->rows[h->count++];
}

static void take_file(struct harvest *h, int dir, const char *name)
{
    struct remap_stats stats;
    char why[STATSFILE_WHY];
    struct view *v;
    struct stat st;
    int fd = statsfile_openat(dir, name);

    if (fd < 0) {
        char error[DISPLAY_UNIT];
        /* Gone meanwhile, or nothing that the library made (a FIFO, a symbolic link). */
        if (fd != -ENOENT && fd != -EINVAL && fd != -ELOOP)
            say("statistics file %s cannot be opened (%s): the summary may lack a process", name,
                display_errno(error, -fd));
        return;
    }
    if (fstat(fd, &st) != 0 || st.st_uid != geteuid() ||
        statsfile_load(fd, &stats, why) != STATSFILE_GOOD || stats.identity.run_id != h->run_id) {
        close(fd);
        return;
    }
    /* Only now, and only files of this run: to lock a file that somebody is just making would take
     * it away from him. What is read under the lock is final. */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        h->running++;
    else if (statsfile_load(fd, &stats, why) == STATSFILE_GOOD && !h->keep)
        remove_file(dir, name, fd);
    close(fd);

    v = new_row(h);
    v->pid = stats.identity.pid <= INT32_MAX ? (pid_t)stats.identity.pid : 0;
    v->uid = stats.identity.uid;
    memcpy(v->comm, stats.identity.comm, sizeof(stats.identity.comm));
    v->has_stats = true;
    v->stats = stats;
}

static void take_directory(struct harvest *h, const char *path)
{
    int fd = stats_dir_open(path);
    char escaped[256], error[DISPLAY_UNIT];
    struct dirent *e;
    DIR *d;

    if (fd == -ENOENT)
        return;
    d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        say("%s cannot be read or is not a directory of yours alone (%s): no statistics from there",
            display_escape(escaped, sizeof(escaped), path),
            display_errno(error, fd < 0 ? -fd : errno));
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((e = readdir(d))) {
        if (statsfile_name(e->d_name))
            take_file(h, dirfd(d), e->d_name);
    }
    closedir(d);
}

static int by_start(const void *a, const void *b)
{
    const struct view *x = a, *y = b;

    return (x->stats.identity.started_ns > y->stats.identity.started_ns) -
           (x->stats.identity.started_ns < y->stats.identity.started_ns);
}

static struct view total_of(const struct harvest *h)
{
    struct view total = {.has_stats = true, .comm = "total"};

    for (size_t i = 0; i < h->count; i++) {
        view_counters_add(&total.stats.counters, &h->rows[i].stats.counters);
        ways_add(&total.stats, &h->rows[i].stats);
    }
    return total;
}

static void print_table(const struct harvest *h, const struct view *total, const struct args *a)
{
    struct selection columns;
    struct table *t;

    selection_parse(&columns, a->columns, &summary_default, process_columns, PROCESS_COLUMN_COUNT);
    t = table_new(stderr, process_columns, &columns, a->noheadings);
    for (size_t i = 0; i < h->count; i++)
        process_row(t, &h->rows[i]);
    if (h->count > 1)
        process_row(t, total);
    table_print(t);
    ways_summarize(&total->stats);
}

static void print_json(const struct harvest *h, const struct view *total, const struct args *a)
{
    static const struct selection sums = {
        22, {PROCESS_CALLS,    PROCESS_MOVES,  PROCESS_RELOCATED,   PROCESS_MERGED,
             PROCESS_SAVED,    PROCESS_BYTES,  PROCESS_TIME,        PROCESS_PASSED,
             PROCESS_IN_PLACE, PROCESS_NATIVE, PROCESS_UFFD,        PROCESS_COPY,
             PROCESS_PLAIN,    PROCESS_FAILED, PROCESS_MERGED_LEFT, PROCESS_MERGED_RIGHT,
             PROCESS_PAGES,    PROCESS_COPIED, PROCESS_SPANS,       PROCESS_SPAN_VMAS,
             PROCESS_ERRORS,   PROCESS_RESCUED}};
    const struct selection everything = selection_all(PROCESS_COLUMN_COUNT);
    json_t *object = json_new_object(), *rows = json_new_array();
    struct selection columns;

    selection_parse(&columns, a->columns, &everything, process_columns, PROCESS_COLUMN_COUNT);
    for (size_t i = 0; i < h->count; i++)
        json_add(rows, json_process(&h->rows[i], &columns));
    json_set(object, "run_id", json_identity(h->run_id));
    json_set(object, "running", json_number(h->running));
    json_set(object, "processes", rows);
    json_set(object, "total", json_process(total, &sums));
    json_set(object, "ways", ways_json(&total->stats));
    json_print(stderr, object, false);
}

/* Why there may be nothing to sum up: what can be told is told. */
static void say_nothing_moved(const struct remap_options *o, uint64_t calls)
{
    char path[PATH_MAX], escaped[PATH_MAX], buf[DISPLAY_UNIT];
    int error = 0;

    for (unsigned n = 0; stats_dir_path(path, sizeof(path), o, n); n++) {
        error = stats_dir_try(path);
        if (error == 0 || error == -ENOENT)
            break;
    }
    if (error != 0 && error != -ENOENT) {
        say("no statistics: no file can be made in %s (%s); make room there, or set "
            "REMAP_STATS_DIR to a directory of yours",
            display_escape(escaped, sizeof(escaped), path), display_errno(buf, -error));
        return;
    }
    say("no memory was moved under the shim (%" PRIu64
        " calls of mremap seen): a program that does "
        "not call mremap%s, a static or setuid program, or REMAP_POLICY=off or REMAP_EXE?",
        calls,
        options_catch(o, REMAP_WAY_REALLOC)
            ? ""
            : " (or only inside realloc(): try --catch symbol,syscall,realloc)");
}

void run_summarize(const struct args *a, uint64_t run_id, bool keep)
{
    struct harvest h = {.run_id = run_id, .keep = keep};
    struct remap_options o;
    char path[PATH_MAX];
    struct view total;

    options_parse(&o, environ);
    for (unsigned n = 0; stats_dir_path(path, sizeof(path), &o, n); n++)
        take_directory(&h, path);
    if (h.count)
        qsort(h.rows, h.count, sizeof(*h.rows), by_start);
    total = total_of(&h);

    if (a->json)
        print_json(&h, &total, a);
    else if (total.stats.counters.moves)
        print_table(&h, &total, a);
    else
        say_nothing_moved(&o, total.stats.counters.calls);
    if (!a->json && total.stats.counters.tier_moves[REMAP_TIER_NONE] != 0 &&
        total.stats.counters.relocated == 0)
        say("nothing was relocated: remapstat probe says what this kernel can do, remapstat PID "
            "why "
            "a move was plain");
    for (size_t i = 0; i < h.count && !a->json; i++)
        ways_say_refused(&h.rows[i].stats);
    if (h.running && !a->json)
        say("%zu of these processes still run; their figures are those of now", h.running);
    free(h.rows);
}
