/* SPDX-License-Identifier: MIT */
/* remapstat: the processes under the shim. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "columns.h"
#include "display.h"
#include "json.h"
#include "remapstat.h"

static int by_number(const void *a, const void *b)
{
    pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

    return (x > y) - (x < y);
}

/* All process ids, sorted; 0 and an errno if /proc cannot be read. */
static size_t list_processes(pid_t **out)
{
    DIR *d = opendir("/proc");
    size_t count = 0, room = 0;
    pid_t *pids = NULL;
    struct dirent *e;

    if (!d)
        return 0;
    while ((e = readdir(d))) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        if (count == room) {
            room = room ? 2 * room : 512;
            pids = reallocarray(pids, room, sizeof(*pids));
            if (!pids)
                out_of_memory();
        }
        pids[count++] = (pid_t)strtol(e->d_name, NULL, 10);
    }
    closedir(d);
    if (count)
        qsort(pids, count, sizeof(*pids), by_number);
    *out = pids;
    return count;
}

/* Processes that are gone again or not ours are left out silently: that is what a list is. */
static bool wanted(struct view *v, pid_t pid)
{
    char comm[4 * sizeof(v->comm)];

    if (view_read(v, pid) < 0 || !view_shimmed(v))
        return false;
    if (v->damaged)
        say("process %d (%s) has no usable statistics: %s", (int)v->pid,
            display_escape(comm, sizeof(comm), v->comm), v->problem);
    return true;
}

int cmd_list(const struct args *a)
{
    const struct selection everything = selection_all(PROCESS_COLUMN_COUNT);
    struct selection columns;
    struct table *table = NULL;
    json_t *array = NULL;
    struct view v;
    pid_t *pids = NULL;
    size_t count, shown = 0;

    if (!selection_parse(&columns, a->columns, a->json ? &everything : &list_default,
                         process_columns, PROCESS_COLUMN_COUNT))
        return STATUS_USAGE;
    count = list_processes(&pids);
    if (!count) {
        say("/proc cannot be read (%s): is it mounted?", strerror(errno));
        return STATUS_FAILURE;
    }

    if (a->json)
        array = json_new_array();
    else
        table = table_new(stdout, process_columns, &columns, a->noheadings);
    for (size_t i = 0; i < count; i++) {
        if (!wanted(&v, pids[i]))
            continue;
        shown++;
        if (array)
            json_add(array, json_process(&v, &columns));
        else
            process_row(table, &v);
    }
    free(pids);
    if (array)
        json_print(stdout, array, false);
    else
        table_print(table);
    if (!shown && !array)
        say("no process that you may look into runs under the shim; start one with 'remapstat run "
            "-- COMMAND'");
    return STATUS_OK;
}
