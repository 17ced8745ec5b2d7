/* SPDX-License-Identifier: MIT */
#include "mappings.h"

#include <stdlib.h>
#include <string.h>

#include "display.h"
#include "kinds.h"

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Memory that was given a name by prctl(PR_SET_VMA_ANON_NAME): the names of glibc (2.39 and later,
 * if asked to) and bionic. */
static enum kind kind_of_anonymous(const char *name)
{
    static const struct {
        const char *begin;
        enum kind kind;
    } known[] = {
        {" glibc: malloc arena", KIND_ARENAS},
        {" glibc: malloc", KIND_CHUNKS},
        {" glibc: pthread", KIND_STACKS},
        {"stack_and_tls:", KIND_STACKS},
        {"thread stack guard", KIND_STACKS},
        {"libc_malloc", KIND_ARENAS},
        {"scudo:", KIND_ARENAS},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (begins(name, known[i].begin))
            return known[i].kind;
    }
    return KIND_ANONYMOUS;
}

static enum kind kind_of_brackets(const char *name, uint8_t *flags)
{
    if (strcmp(name, "[heap]") == 0)
        return KIND_ARENAS;
    if (begins(name, "[stack"))
        return KIND_STACKS;
    if (begins(name, "[anon_shmem:"))
        return KIND_SHARED;
    if (!begins(name, "[anon:"))
        return KIND_SPECIAL;
    *flags |= MAPPING_FLEX;
    return kind_of_anonymous(name + strlen("[anon:"));
}

/* The text of `name` without " (deleted)" ends in `tail`. */
static bool ends(const char *name, const char *tail)
{
    static const char deleted[] = " (deleted)";
    size_t len = strlen(name), n = strlen(tail);

    if (len >= sizeof(deleted) - 1 && strcmp(name + len - (sizeof(deleted) - 1), deleted) == 0)
        len -= sizeof(deleted) - 1;
    return len >= n && memcmp(name + len - n, tail, n) == 0;
}

static enum kind kind_of_path(struct mappings *m, const char *name, bool shared, uint8_t *flags)
{
    const char *slash = strrchr(name, '/');

    if (begins(name, "/memfd:java_heap"))
        return KIND_JAVA_HEAP;
    /* Both are anonymous memory if they are private; large pages may be the heap of a JVM. */
    if (begins(name, "/dev/zero") || begins(name, "/anon_hugepage")) {
        *flags |= MAPPING_FLEX;
        return shared ? KIND_SHARED : KIND_ANONYMOUS;
    }
    if (begins(name, "/memfd:") || begins(name, "/SYSV") || begins(name, "/dev/shm/"))
        return KIND_SHARED;
    if (ends(name, ".jsa")) {
        *flags |= MAPPING_FLEX | MAPPING_ARCHIVE;
        return KIND_JAVA_CLASSES;
    }
    if (strstr(name, "/hsperfdata_"))
        return KIND_JAVA_OTHER;
    if (begins(name, "anon_inode:"))
        return KIND_SPECIAL;
    if (slash && begins(slash + 1, "libremap.so"))
        return KIND_REMAP;
    if (ends(name, "/libjvm.so"))
        m->java = true;
    return KIND_FILES;
}

void mappings_add(struct mappings *m, const struct procfs_map *line)
{
    struct mapping *to;
    uint8_t flags = 0;
    enum kind kind;

    if (line->end <= line->start)
        return;
    if (m->count == MAPPINGS_MAX) {
        m->more++;
        m->more_bytes += line->end - line->start;
        return;
    }
    if (m->count == m->room) {
        m->room = m->room ? 2 * m->room : 512;
        m->list = reallocarray(m->list, m->room, sizeof(*m->list));
        if (!m->list)
            out_of_memory();
    }
    flags |= line->perms[0] == 'r' ? MAPPING_READ : 0;
    flags |= line->perms[1] == 'w' ? MAPPING_WRITE : 0;
    flags |= line->perms[2] == 'x' ? MAPPING_EXEC : 0;
    if (line->name[0] == '[') {
        kind = kind_of_brackets(line->name, &flags);
    } else if (line->name[0]) {
        kind = kind_of_path(m, line->name, line->perms[3] == 's', &flags);
    } else if (line->inode) {
        kind = KIND_FILES;
    } else if (line->perms[3] == 's') {
        kind = KIND_SHARED;
    } else {
        flags |= MAPPING_BLANK | MAPPING_FLEX;
        kind = KIND_OPEN;
    }
    to = &m->list[m->count++];
    *to = (struct mapping){.start = line->start,
                           .end = line->end,
                           .inode = line->inode,
                           .flags = flags,
                           .kind = (uint8_t)kind};
}

void mappings_free(struct mappings *m)
{
    free(m->list);
    *m = (struct mappings){0};
}

size_t mappings_find(const struct mappings *m, uint64_t address)
{
    size_t low = 0, high = m->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (m->list[middle].end > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

struct mapping *mappings_at(const struct mappings *m, uint64_t address)
{
    size_t i = mappings_find(m, address);

    return i < m->count && m->list[i].start <= address ? &m->list[i] : NULL;
}

bool mapping_is_open(const struct mapping *m)
{
    return m->flags & MAPPING_BLANK && m->kind == KIND_OPEN;
}
