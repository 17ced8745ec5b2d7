/* SPDX-License-Identifier: MIT */
#include "malloc_kinds.h"

#include "kinds.h"

/* An arena consists of heaps that begin at multiples of this; the part that is in use can be read
 * and written, the rest is reserved. As in 64-bit programs. */
#define HEAP_SIZE (UINT64_C(64) << 20)
#define PAGE_MASK UINT64_C(4095) /* pages are larger on some machines, never smaller */

/* malloc/arena.c: heap_info */
struct heap_info {
    uint64_t arena, previous, size, writable;
};

static bool is_heap(const struct heap_info *h, uint64_t start)
{
    if (!h->size || h->size > h->writable || h->writable > HEAP_SIZE ||
        (h->size | h->writable) & PAGE_MASK)
        return false;
    /* The first heap of an arena begins with the arena; the others point to the one before. */
    if (h->previous)
        return h->previous % HEAP_SIZE == 0 && h->previous != start && h->arena != 0;
    return h->arena > start && h->arena < start + 4096;
}

/* Whether the mappings from `i` on fill a heap: what is in use, then what is reserved. */
static bool has_shape(const struct mappings *m, size_t i)
{
    uint64_t end = m->list[i].start + HEAP_SIZE;

    if (m->list[i].end >= end)
        return false;
    return i + 1 < m->count && m->list[i + 1].start == m->list[i].end &&
           mapping_is_open(&m->list[i + 1]) && !(m->list[i + 1].flags & MAPPING_ACCESS) &&
           m->list[i + 1].end >= end;
}

void label_arenas(struct mappings *m, const struct memory *memory)
{
    for (size_t i = 0; i < m->count; i++) {
        uint64_t start = m->list[i].start;
        struct heap_info h;
        if (start % HEAP_SIZE || !start || !mapping_is_open(&m->list[i]) ||
            (m->list[i].flags & MAPPING_ACCESS) != (MAPPING_READ | MAPPING_WRITE))
            continue;
        if (memory ? !memory_read(memory, start, &h, sizeof(h)) || !is_heap(&h, start)
                   : !has_shape(m, i))
            continue;
        for (; i < m->count && m->list[i].start - start < HEAP_SIZE; i++) {
            if (mapping_is_open(&m->list[i]))
                m->list[i].kind = KIND_ARENAS;
        }
        i--;
    }
}

/* What the blocks from the start of `at` on take. Blocks that lie next to each other are one
 * mapping, and other memory may have merged with them as well. */
static uint64_t chunk_bytes(const struct mapping *at, const struct memory *memory)
{
    enum { MAPPED = 2, LOOKS = 64 };
    uint64_t start = at->start;

    for (int i = 0; i < LOOKS && start < at->end; i++) {
        uint64_t head[2], size; /* what precedes the block in its mapping; its size and flags */
        if (!memory_read(memory, start, head, sizeof(head)))
            break;
        size = head[1] - MAPPED;
        if (head[0] || !size || size & PAGE_MASK || size > at->end - start)
            break;
        start += size;
    }
    return start - at->start;
}

void label_chunks(struct mappings *m, const struct memory *memory)
{
    for (size_t i = 0; memory && i < m->count; i++) {
        struct mapping *at = &m->list[i];
        if (mapping_is_open(at) && (at->flags & MAPPING_ACCESS) == (MAPPING_READ | MAPPING_WRITE)) {
            uint64_t bytes = chunk_bytes(at, memory);
            if (bytes && bytes >= (at->end - at->start) / 2)
                at->kind = KIND_CHUNKS;
        }
    }
}
