/* SPDX-License-Identifier: MIT */
#include "maps.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A number in a /proc file, 0 if it cannot be read. */
static unsigned long read_number(const char *path)
{
    char text[32];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        close(fd);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    return strtoul(text, NULL, 10);
}

unsigned long max_map_count(void)
{
    return read_number("/proc/sys/vm/max_map_count");
}

/* ---- counting: lines of /proc/self/maps, and how few they could be ---- */

struct mapping {
    uintptr_t start;
    uintptr_t end;
    char prot[5];
    bool anonymous; /* and private */
    char name[64];  /* cut off: only names of anonymous mappings are compared */
};

static bool parse_mapping(const char *line, struct mapping *m)
{
    unsigned long inode;
    int name_at = 0;

    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*x %*s %lu %n", &m->start, &m->end, m->prot,
               &inode, &name_at) < 4)
        return false;
    m->anonymous = m->prot[3] == 'p' && inode == 0;
    snprintf(m->name, sizeof m->name, "%.63s", line + name_at);
    return true;
}

static bool same_run(const struct mapping *a, const struct mapping *b)
{
    return a->anonymous && b->anonymous && a->end == b->start && strcmp(a->prot, b->prot) == 0 &&
           strcmp(a->name, b->name) == 0;
}

/*
 * No malloc and no stdio here: this is also called when the process is out of VMAs. The kernel ends
 * each read() at the end of a line.
 */
void count_mappings_within(uintptr_t start, uintptr_t end, unsigned *vmas, unsigned *runs)
{
    static char text[1 << 16];
    struct mapping previous = {0};
    struct mapping next;
    ssize_t got;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

    *vmas = *runs = 0;
    if (fd < 0)
        return;
    while ((got = read(fd, text, sizeof text - 1)) > 0) {
        text[got] = '\0';
        for (char *line = text, *tail; (tail = strchr(line, '\n')); line = tail + 1) {
            *tail = '\0';
            if (!parse_mapping(line, &next) || next.end <= start || next.start >= end)
                continue;
            ++*vmas;
            if (!same_run(&previous, &next))
                ++*runs;
            previous = next;
        }
    }
    close(fd);
}

void count_mappings(unsigned *vmas, unsigned *runs)
{
    count_mappings_within(0, UINTPTR_MAX, vmas, runs);
}

/* ---- the end, good or bad ---- */
