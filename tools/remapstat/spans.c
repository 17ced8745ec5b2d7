/* SPDX-License-Identifier: MIT */
#include "spans.h"

#include <stdlib.h>

#include "display.h"

void spans_add(struct spans *s, uint64_t start, uint64_t end, enum kind kind)
{
    if (end <= start || s->count == SPANS_MAX)
        return;
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 64;
        s->list = reallocarray(s->list, s->room, sizeof(*s->list));
        if (!s->list)
            out_of_memory();
    }
    s->list[s->count++] = (struct span){start, end, kind};
}

void spans_free(struct spans *s)
{
    free(s->list);
    *s = (struct spans){0};
}

static int by_start(const void *a, const void *b)
{
    const struct span *x = a, *y = b;

    return x->start != y->start ? (x->start > y->start) - (x->start < y->start)
                                : (x->end < y->end) - (x->end > y->end);
}

/* In order, without overlaps: a JVM tells of the heap and of what is in it. */
static void tidy(struct spans *s)
{
    uint64_t last = 0;
    size_t kept = 0;

    if (s->count)
        qsort(s->list, s->count, sizeof(*s->list), by_start);
    for (size_t i = 0; i < s->count; i++) {
        struct span at = s->list[i];
        at.start = at.start > last ? at.start : last;
        if (at.start >= at.end)
            continue;
        last = at.end;
        s->list[kept++] = at;
    }
    s->count = kept;
}

static void label(struct mapping *m, const struct spans *s, size_t i)
{
    uint64_t of[KIND_COUNT] = {0}, unknown = m->end - m->start;
    enum kind best = KIND_OPEN;

    for (; i < s->count && s->list[i].start < m->end; i++) {
        uint64_t from = s->list[i].start > m->start ? s->list[i].start : m->start,
                 to = s->list[i].end < m->end ? s->list[i].end : m->end;
        enum kind kind = s->list[i].kind;
        of[kind] += to - from;
        unknown -= to - from;
        if (best == KIND_OPEN || of[kind] > of[best])
            best = kind;
    }
    if (best != KIND_OPEN && of[best] >= unknown)
        m->kind = (uint8_t)best;
}

void label_spans(struct mappings *m, struct spans *s)
{
    size_t next = 0;

    tidy(s);
    for (size_t i = 0; i < m->count; i++) {
        while (next < s->count && s->list[next].end <= m->list[i].start)
            next++;
        if (m->list[i].flags & MAPPING_FLEX)
            label(&m->list[i], s, next);
    }
}
