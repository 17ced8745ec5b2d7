/* SPDX-License-Identifier: MIT */
#include "stack_kinds.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kinds.h"

/* Enough to learn what the stacks look like; each costs some microseconds. */
#define POINTERS 4096
/* Different sizes of stacks in one process. */
#define SHAPES 64
/* Guards are small: one page is usual, a JVM has some more. */
#define GUARD_MAX (UINT64_C(1) << 20)

/* "NUMBER ARGUMENTS... STACK-POINTER PROGRAM-COUNTER", or "running". */
static bool stack_pointer(int tasks, const char *thread, uint64_t *out)
{
    char path[64], text[256], *at;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%.20s/syscall", thread);
    fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    at = strrchr(text, ' ');
    if (!at)
        return false;
    *at = '\0';
    at = strrchr(text, ' ');
    if (!at)
        return false;
    *out = strtoull(at, NULL, 16);
    return *out != 0;
}

static size_t stack_pointers(const struct procfs *p, uint64_t *out, size_t room)
{
    int fd = openat(p->dir, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    size_t count = 0;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    for (size_t i = 0; i < room && (e = readdir(d));) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        i++;
        if (stack_pointer(dirfd(d), e->d_name, &out[count]))
            count++;
    }
    closedir(d);
    return count;
}

/* What glibc takes from the limit of the main stack. */
static uint64_t usual_size(const struct procfs *p)
{
    static const char key[] = "Max stack size";
    uint64_t unlimited = UINT64_C(2) << 20, size = 0;
    char text[2048], *at;
    int fd = openat(p->dir, "limits", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    at = strstr(text, key);
    if (at && sscanf(at + sizeof(key) - 1, "%" SCNu64, &size) != 1)
        size = unlimited;
    return size;
}

struct shape {
    uint64_t guard, size;
};

static bool is_guard(const struct mapping *m)
{
    return mapping_is_open(m) && !(m->flags & MAPPING_ACCESS) && m->end - m->start <= GUARD_MAX;
}

static struct shape shape_of(const struct mappings *m, size_t i)
{
    struct shape s = {.size = m->list[i].end - m->list[i].start};

    if (i && m->list[i - 1].end == m->list[i].start && is_guard(&m->list[i - 1]))
        s.guard = m->list[i - 1].end - m->list[i - 1].start;
    return s;
}

static bool may_be_stack(const struct mapping *m)
{
    return mapping_is_open(m) && m->flags & MAPPING_READ && m->flags & MAPPING_WRITE;
}

static void label_one(struct mappings *m, size_t i, struct shape s)
{
    m->list[i].kind = KIND_STACKS;
    if (s.guard)
        m->list[i - 1].kind = KIND_STACKS;
}

static int by_address(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

void label_stacks_at(struct mappings *m, const uint64_t *pointers, size_t count, uint64_t usual)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    struct shape shapes[SHAPES];
    size_t known = 0;

    /* One guard page is usual too; before glibc 2.27 it was taken from the stack. */
    if (usual > page) {
        shapes[known++] = (struct shape){.guard = page, .size = usual};
        shapes[known++] = (struct shape){.guard = page, .size = usual - page};
    }

    for (size_t i = 0; i < count; i++) {
        size_t at = mappings_find(m, pointers[i]), k = 0;
        struct shape s;
        if (at == m->count || m->list[at].start > pointers[i] || !may_be_stack(&m->list[at]))
            continue;
        s = shape_of(m, at);
        /* A runtime that takes stacks from its own heap has many in one mapping. */
        if (!s.guard && ((i && pointers[i - 1] >= m->list[at].start) ||
                         (i + 1 < count && pointers[i + 1] < m->list[at].end)))
            continue;
        label_one(m, at, s);
        while (k < known && (shapes[k].guard != s.guard || shapes[k].size != s.size))
            k++;
        if (k == known && known < SHAPES && s.guard)
            shapes[known++] = s;
    }
    for (size_t i = 1; known && i < m->count; i++) {
        struct shape s;
        if (!may_be_stack(&m->list[i]))
            continue;
        s = shape_of(m, i);
        for (size_t k = 0; s.guard && k < known; k++) {
            if (shapes[k].guard == s.guard && shapes[k].size == s.size) {
                label_one(m, i, s);
                break;
            }
        }
    }
}

void label_stacks(struct mappings *m, const struct procfs *p)
{
    uint64_t *pointers = calloc(POINTERS, sizeof(*pointers));
    size_t count;

    if (!pointers)
        return;
    count = stack_pointers(p, pointers, POINTERS);
    qsort(pointers, count, sizeof(*pointers), by_address);
    label_stacks_at(m, pointers, count, usual_size(p));
    free(pointers);
}

void label_guards(struct mappings *m)
{
    for (size_t i = 1; i < m->count; i++) {
        if (m->list[i].kind == KIND_STACKS && m->list[i - 1].end == m->list[i].start &&
            is_guard(&m->list[i - 1]))
            m->list[i - 1].kind = KIND_STACKS;
    }
}
