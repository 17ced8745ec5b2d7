/* SPDX-License-Identifier: MIT */
/* remapstat PID INTERVAL [COUNT]: one row for each interval, as vmstat does it. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "columns.h"
#include "display.h"
#include "json.h"
#include "parse.h"
#include "remapstat.h"

#define HEADER_EVERY 20

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Waits until `deadline`. False as soon as the process has ended; never if pidfd is -1, as it is
 * before Linux 5.3. */
static bool wait_until(double deadline, int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    for (;;) {
        double gap = deadline - now(), left = gap > 0 ? gap : 0;
        struct timespec t = {.tv_sec = (time_t)left};
        int n;
        t.tv_nsec = (long)((left - (double)t.tv_sec) * 1e9);
        n = ppoll(&p, 1, &t, NULL);
        if (n >= 0 || errno != EINTR)
            return n <= 0;
    }
}

static void print_header(const struct selection *s)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct column *c = &process_columns[s->index[i]];
        printf(c->flags & COLUMN_RIGHT ? "%s%*s" : "%s%-*s", i ? " " : "", c->width, c->name);
    }
    putchar('\n');
}

static void print_row(const struct view *v, const struct selection *s)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct column *c = &process_columns[s->index[i]];
        char buf[DISPLAY_UNIT];
        struct value value;
        column_value(&value, v, (enum process_column)s->index[i]);
        printf(c->flags & COLUMN_RIGHT ? "%s%*s" : "%s%-*s", i ? " " : "", c->width,
               value_text(&value, buf));
    }
    putchar('\n');
    fflush(stdout);
}

/*
 * Turns the absolute counters of `v` into what was added since `previous`, and remembers them. A
 * process that called exec(), or only now made its file, starts from zero.
 */
static void to_delta(struct view *v, struct view *previous)
{
    struct remap_stats_counters absolute = v->stats.counters;

    if (previous->has_stats && v->has_stats &&
        previous->stats.identity.started_ns == v->stats.identity.started_ns)
        view_counters_subtract(&v->stats.counters, &previous->stats.counters);
    previous->has_stats = v->has_stats;
    previous->stats.identity = v->stats.identity;
    previous->stats.counters = absolute;
}

int cmd_watch(const struct args *a)
{
    const struct selection everything = selection_all(PROCESS_COLUMN_COUNT);
    struct selection columns;
    struct view v, previous = {0};
    double interval, next, last = 0;
    uint64_t pid, count = 0;
    int pidfd, status;

    if (!parse_pid(a->argv[0], &pid) || !parse_interval(a->argv[1], &interval) ||
        (a->argc > 2 && !parse_count(a->argv[2], &count)) ||
        !selection_parse(&columns, a->columns, a->json ? &everything : &watch_default,
                         process_columns, PROCESS_COLUMN_COUNT))
        return STATUS_USAGE;

    pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    status = view_read_or_say(&v, (pid_t)pid);
    next = now();
    for (uint64_t row = 0; status == STATUS_OK;) {
        double time = now();
        to_delta(&v, &previous);
        if (a->json) {
            json_t *object = json_process(&v, &columns);
            /* null: since the process began, as in the first row of vmstat */
            json_set(object, "seconds", row ? json_real(time - last) : json_null());
            json_print(stdout, object, true);
        } else {
            if (!a->noheadings && row % HEADER_EVERY == 0)
                print_header(&columns);
            print_row(&v, &columns);
        }
        last = time;
        row++;
        if (ferror(stdout) || (count && row >= count))
            break;

        /* Rows stay on the beat of the first one, unless reading takes longer than an interval. */
        next += interval;
        if (next < time)
            next = time;
        if (!wait_until(next, pidfd) || view_read(&v, (pid_t)pid) < 0)
            break; /* it has ended: so do we */
    }
    if (pidfd >= 0)
        close(pidfd);
    return status;
}
