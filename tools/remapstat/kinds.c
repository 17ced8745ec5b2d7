/* SPDX-License-Identifier: MIT */
#include "kinds.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "java_ask.h"
#include "java_layout.h"
#include "malloc_kinds.h"
#include "memory.h"
#include "spans.h"
#include "stack_kinds.h"
#include "zone.h"

#define KEY(id, key, help)  key,
#define HELP(id, key, help) help,
const char *const kind_keys[KIND_COUNT] = {KINDS(KEY)};
const char *const kind_help[KIND_COUNT] = {KINDS(HELP)};
#undef KEY
#undef HELP

const char *const java_source_keys[JAVA_SOURCES] = {"none", "layout", "vm_info", "nmt"};

/* Where the library puts what it maps; 0 if that cannot be told. */
static uint64_t zone_of(const struct procfs *p)
{
    uint64_t pairs[64][2];
    int fd = openat(p->dir, "auxv", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, pairs, sizeof(pairs));

    if (fd >= 0)
        close(fd);
    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(pairs[0]); i++) {
        if (pairs[i][0] == AT_RANDOM)
            return zone_base(pairs[i][1]);
    }
    return 0;
}

static void label_own(struct mappings *m, const struct procfs *p, const struct kinds_hints *hints)
{
    struct mapping *stats = mappings_at(m, hints->stats_start);
    uint64_t zone = hints->shim ? zone_of(p) : 0;

    if (hints->stats_start && stats)
        stats->kind = KIND_REMAP;
    if (!zone)
        return;
    for (size_t i = mappings_find(m, zone); i < m->count && m->list[i].end <= zone + ZONE_SIZE;
         i++) {
        if (mapping_is_open(&m->list[i]))
            m->list[i].kind = KIND_REMAP;
    }
}

/* The part of a program's or a library's data that no file fills follows the part that one does. */
static void label_bss(struct mappings *m)
{
    uint64_t library = 0; /* inode of the last mapping of a file that is executable */

    for (size_t i = 0; i < m->count; i++) {
        const struct mapping *before = i ? &m->list[i - 1] : NULL;
        if (m->list[i].inode && m->list[i].flags & MAPPING_EXEC)
            library = m->list[i].inode;
        if (before && library && before->inode == library && before->end == m->list[i].start &&
            mapping_is_open(&m->list[i]) && m->list[i].flags & MAPPING_WRITE &&
            before->flags & MAPPING_WRITE)
            m->list[i].kind = before->kind;
    }
}

static void label_java(struct kinds *k, struct mappings *m, const struct procfs *p,
                       const struct kinds_hints *hints)
{
    struct spans spans = {0};

    k->java = JAVA_LAYOUT;
    if (hints->ask) {
        k->java = java_ask(p->pid, hints->caught, &spans, k->problem, sizeof(k->problem));
        label_spans(m, &spans);
        spans_free(&spans);
    }
}

/* What the JVM itself has not told. */
static void label_java_rest(const struct kinds *k, struct mappings *m)
{
    if (k->java == JAVA_NONE || k->java == JAVA_NMT)
        return;
    label_java_archive(m);
    if (k->java == JAVA_LAYOUT) {
        label_java_code(m);
        label_java_heap(m);
    }
    label_java_metaspace(m);
}

static void count(struct kinds *k, struct mappings *m)
{
    for (size_t i = 0; i < m->count; i++) {
        struct mapping *at = &m->list[i];
        if (at->kind == KIND_OPEN)
            at->kind = at->flags & MAPPING_ACCESS ? KIND_ANONYMOUS : KIND_NO_ACCESS;
        k->of[at->kind].vmas++;
        k->of[at->kind].bytes += at->end - at->start;
    }
    k->of[KIND_ANONYMOUS].vmas += m->more;
    k->of[KIND_ANONYMOUS].bytes += m->more_bytes;
    for (size_t i = 0; i < KIND_COUNT; i++) {
        k->total.vmas += k->of[i].vmas;
        k->total.bytes += k->of[i].bytes;
    }
}

void kinds_find(struct kinds *k, struct mappings *m, const struct procfs *p,
                const struct kinds_hints *hints)
{
    struct memory opened, *memory;

    *k = (struct kinds){0};
    memory = memory_open(&opened, p) ? &opened : NULL;
    k->headers = memory != NULL;
    /* From what is certain to what is only likely: each leaves alone what has a kind already. */
    label_own(m, p, hints);
    if (m->java)
        label_java(k, m, p, hints);
    else if (hints->ask)
        snprintf(k->problem, sizeof(k->problem), "libjvm.so is not mapped there");
    /* By its shape alone the class space may be an arena. */
    if (!memory && k->java == JAVA_LAYOUT)
        label_java_archive(m);
    label_arenas(m, memory);
    label_stacks(m, p);
    label_guards(m);
    label_java_rest(k, m);
    label_chunks(m, memory);
    label_bss(m);
    count(k, m);
    if (memory)
        memory_close(memory);
}

size_t kinds_order(const struct kinds *k, enum kind order[KIND_COUNT])
{
    size_t count = 0;

    for (size_t i = 0; i < KIND_COUNT; i++) {
        size_t at = count;
        if (!k->of[i].vmas)
            continue;
        for (; at && k->of[order[at - 1]].vmas < k->of[i].vmas; at--)
            order[at] = order[at - 1];
        order[at] = (enum kind)i;
        count++;
    }
    return count;
}
