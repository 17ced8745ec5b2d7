/* SPDX-License-Identifier: MIT */
/* What /proc/self says of this process's memory. No malloc: a test may be at its limits. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib.h"

static int maps_fd = -1;
static pid_t maps_pid;

void maps_open(void)
{
    if (maps_fd >= 0) {
        close(maps_fd);
    }
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    maps_fd = fcntl(fd, F_DUPFD_CLOEXEC, 300); /* out of the way of what a case counts on */
    if (maps_fd < 0) {
        maps_fd = fd;
    } else {
        close(fd);
    }
    maps_pid = getpid();
}

/* Reads a file line by line through a fixed buffer; `each` returns false to stop. */
static void each_line(int fd, bool (*each)(char *line, void *argument), void *argument)
{
    static char buffer[65536];
    size_t have = 0;
    for (;;) {
        ssize_t got = read(fd, buffer + have, sizeof(buffer) - 1 - have);
        CHECK(got >= 0);
        if (got == 0) {
            return;
        }
        have += (size_t)got;
        buffer[have] = '\0';
        char *line = buffer;
        for (char *end = strchr(line, '\n'); end; end = strchr(line, '\n')) {
            *end = '\0';
            if (!each(line, argument)) {
                return;
            }
            line = end + 1;
        }
        have -= (size_t)(line - buffer);
        memmove(buffer, line, have);
    }
}

static bool parse_line(const char *line, struct map_line *out)
{
    char *rest;
    out->start = strtoul(line, &rest, 16);
    if (rest == line || *rest != '-') {
        return false;
    }
    const char *second = rest + 1;
    out->end = strtoul(second, &rest, 16);
    if (rest == second || *rest != ' ') {
        return false;
    }
    memcpy(out->perms, rest + 1, 4);
    out->perms[4] = '\0';
    const char *name = line;
    for (int field = 0; field < 5 && *name; field++) {
        name += strcspn(name, " ");
        name += strspn(name, " ");
    }
    snprintf(out->name, sizeof(out->name), "%s", name);
    return true;
}

struct counting {
    uintptr_t start;
    uintptr_t end;
    size_t vmas;
    size_t bytes;
    struct map_line last;
};

static bool count_line(char *text, void *argument)
{
    struct counting *c = argument;
    struct map_line line;
    CHECK(parse_line(text, &line));
    if (line.start >= c->end) {
        return false;
    }
    if (line.end > c->start) {
        uintptr_t from = line.start > c->start ? line.start : c->start;
        uintptr_t to = line.end < c->end ? line.end : c->end;
        c->vmas++;
        c->bytes += to - from;
        c->last = line;
    }
    return true;
}

static struct counting count(uintptr_t start, uintptr_t end)
{
    struct counting c = {.start = start, .end = end};
    if (maps_fd < 0 || maps_pid != getpid()) {
        maps_open();
    }
    CHECK_EQ(lseek(maps_fd, 0, SEEK_SET), 0);
    each_line(maps_fd, count_line, &c);
    return c;
}

size_t vmas_in(const void *start, size_t size)
{
    return count((uintptr_t)start, (uintptr_t)start + size).vmas;
}

size_t vmas_total(void)
{
    return count(0, UINTPTR_MAX).vmas;
}

size_t mapped_in(const void *start, size_t size)
{
    return count((uintptr_t)start, (uintptr_t)start + size).bytes;
}

bool map_of(const void *at, struct map_line *line)
{
    struct counting c = count((uintptr_t)at, (uintptr_t)at + 1);
    *line = c.last;
    return c.vmas == 1;
}

struct smaps_query {
    uintptr_t at;
    const char *field;
    bool inside;
    bool found;
    char value[256];
};

static bool smaps_line(char *text, void *argument)
{
    struct smaps_query *q = argument;
    struct map_line line;
    size_t n = strlen(q->field);
    if (text[0] >= 'A' && text[0] <= 'Z') {
        if (q->inside && strncmp(text, q->field, n) == 0 && text[n] == ':') {
            snprintf(q->value, sizeof(q->value), "%s", text + n + 1 + strspn(text + n + 1, " "));
            q->found = true;
            return false;
        }
        return true;
    }
    if (parse_line(text, &line)) {
        q->inside = line.start <= q->at && q->at < line.end;
    }
    return true;
}

static bool smaps_field(const void *at, const char *field, char *out, size_t size)
{
    struct smaps_query q = {.at = (uintptr_t)at, .field = field};
    int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    each_line(fd, smaps_line, &q);
    close(fd);
    snprintf(out, size, "%s", q.value);
    return q.found;
}

long smaps_kib(const void *at, const char *field)
{
    char value[256];
    return smaps_field(at, field, value, sizeof(value)) ? strtol(value, NULL, 10) : -1;
}

void vm_flags(const void *at, char *out, size_t size)
{
    char value[256];
    CHECK(smaps_field(at, "VmFlags", value, sizeof(value)));
    size_t n = 0;
    out[0] = '\0';
    char *save = NULL;
    for (char *word = strtok_r(value, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        if (strcmp(word, "sd") != 0) {
            n += (size_t)snprintf(out + n, size - n, "%s ", word);
            CHECK(n < size);
        }
    }
}

static bool status_line(char *text, void *argument)
{
    struct smaps_query *q = argument;
    q->inside = true;
    return smaps_line(text, q);
}

long proc_status_kib(const char *field)
{
    struct smaps_query q = {.field = field};
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    each_line(fd, status_line, &q);
    close(fd);
    const char *digits = q.value + strspn(q.value, " \t");
    return q.found ? strtol(digits, NULL, 10) : -1;
}

size_t count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    size_t n = 0;
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        n += e->d_name[0] != '.';
    }
    closedir(dir);
    return n - 1;
}

long read_number(const char *path)
{
    char text[64];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0) {
        return -1;
    }
    text[n] = '\0';
    return strtol(text, NULL, 10);
}

bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = write(fd, text, strlen(text));
    close(fd);
    return n == (ssize_t)strlen(text);
}
