/* SPDX-License-Identifier: MIT */
#include "perfmap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "display.h"
#include "statsfile.h"

#define SIZE_LIMIT ((off_t)64 << 20)

struct entry {
    uint64_t start, end;
    size_t line; /* the later of two counts: code is replaced */
    const char *name;
};

struct perfmap {
    char *text;
    size_t count;
    struct entry *entries; /* by start, then by line */
};

static bool is_trusted(const struct stat *st, const struct procfs_status *status)
{
    for (int i = 0; i < 3; i++) {
        if (st->st_uid == status->uid[i])
            return true;
    }
    return st->st_uid == 0;
}

static int open_map(const struct procfs *p, const struct procfs_status *status, off_t *size)
{
    char path[64];
    struct stat st;
    int root = openat(p->dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC), fd;

    if (root < 0)
        return -1;
    snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)status->inner_pid);
    fd = statsfile_open_below(root, path);
    close(root);
    if (fd >= 0 && (fstat(fd, &st) != 0 || !is_trusted(&st, status) || st.st_size > SIZE_LIMIT)) {
        close(fd);
        return -1;
    }
    *size = fd >= 0 ? st.st_size : 0;
    return fd;
}

/* Up to `size` bytes, NUL-terminated. */
static char *read_text(int fd, off_t size)
{
    char *text = malloc((size_t)size + 1);
    size_t done = 0;
    ssize_t n;

    if (!text)
        out_of_memory();
    while (done < (size_t)size && (n = read(fd, text + done, (size_t)size - done)) > 0)
        done += (size_t)n;
    text[done] = '\0';
    return text;
}

/* One line, without its end. False if it is none of the form. */
static bool parse_line(struct entry *e, char *line)
{
    char *end;

    if (!strspn(line, "0123456789abcdefABCDEF"))
        return false; /* strtoull() takes blanks and signs */
    e->start = strtoull(line, &end, 16);
    if (*end != ' ' || !strspn(end + 1, "0123456789abcdefABCDEF"))
        return false;
    e->end = e->start + strtoull(end + 1, &end, 16);
    if (*end != ' ' || e->end <= e->start)
        return false;
    e->name = end + 1;
    return *e->name != '\0';
}

static int by_start(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    if (x->start != y->start)
        return (x->start > y->start) - (x->start < y->start);
    return (x->line > y->line) - (x->line < y->line);
}

static void parse(struct perfmap *m)
{
    size_t room = 0, number = 0;
    char *save = NULL;

    for (char *line = strtok_r(m->text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        struct entry e = {.line = number++};
        if (!parse_line(&e, line))
            continue;
        if (m->count == room) {
            room = room ? 2 * room : 1024;
            m->entries = reallocarray(m->entries, room, sizeof(*m->entries));
            if (!m->entries)
                out_of_memory();
        }
        m->entries[m->count++] = e;
    }
    if (m->count)
        qsort(m->entries, m->count, sizeof(*m->entries), by_start);
}

struct perfmap *perfmap_open(const struct procfs *p, const struct procfs_status *status)
{
    off_t size;
    int fd = open_map(p, status, &size);
    struct perfmap *m;

    if (fd < 0)
        return NULL;
    m = calloc(1, sizeof(*m));
    if (!m)
        out_of_memory();
    m->text = read_text(fd, size);
    close(fd);
    parse(m);
    return m;
}

void perfmap_close(struct perfmap *m)
{
    if (!m)
        return;
    free(m->entries);
    free(m->text);
    free(m);
}

const char *perfmap_find(const struct perfmap *m, uint64_t address, uint64_t *start)
{
    enum { NEIGHBOURS = 64 }; /* old code that new code overlaps in part */
    size_t low = 0, high = m ? m->count : 0;
    const struct entry *best = NULL;

    while (low < high) { /* the first that starts behind the address */
        size_t middle = low + (high - low) / 2;
        if (m->entries[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; m && i > 0 && i + NEIGHBOURS > low; i--) {
        const struct entry *e = &m->entries[i - 1];
        if (address < e->end && (!best || e->line > best->line))
            best = e;
    }
    if (!best)
        return NULL;
    *start = best->start;
    return best->name;
}
