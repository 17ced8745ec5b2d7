/* SPDX-License-Identifier: MIT */
#include "sites.h"

#include <stdbool.h>

void sites_describe(struct remap_stats_sites *t, uint32_t depth)
{
    t->capacity = SITES_CAPACITY;
    t->entry_size = sizeof(struct remap_stats_site);
    t->depth = depth;
}

static void add(uint64_t *counter, uint64_t value)
{
    if (value != 0)
        __atomic_fetch_add(counter, value, __ATOMIC_RELAXED);
}

/* splitmix64's finisher over all words; never 0. */
static uint64_t hash(enum remap_way way, const uint64_t *frames, size_t depth)
{
    uint64_t h = way + 1;
    for (size_t i = 0; i < depth; i++) {
        h += frames[i] + 0x9e3779b97f4a7c15u;
        h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
        h = (h ^ h >> 27) * 0x94d049bb133111ebu;
        h ^= h >> 31;
    }
    return h != 0 ? h : 1;
}

/* The slot of this key, taken if need be; NULL: no room. */
static struct remap_stats_site *slot_of(struct remap_stats_sites *t, uint64_t key)
{
    struct remap_stats_site *slots = (struct remap_stats_site *)(t + 1);
    for (uint32_t i = 0; i < SITES_CAPACITY; i++) {
        struct remap_stats_site *s = slots + ((key + i) & (SITES_CAPACITY - 1));
        uint64_t there = __atomic_load_n(&s->key, __ATOMIC_RELAXED);
        if (there == 0 && __atomic_compare_exchange_n(&s->key, &there, key, false, __ATOMIC_RELAXED,
                                                      __ATOMIC_RELAXED))
            return s;
        if (there == key) /* perhaps since just now: the exchange says what it found */
            return s;
    }
    return NULL;
}

/* Everyone who comes while nobody has finished writes the same: nobody waits for who was first. */
static void describe(struct remap_stats_site *s, enum remap_way way, const uint64_t *frames,
                     size_t depth)
{
    if (__atomic_load_n(&s->ready, __ATOMIC_ACQUIRE) != 0)
        return;
    __atomic_store_n(&s->way, (uint16_t)way, __ATOMIC_RELAXED);
    __atomic_store_n(&s->depth, (uint16_t)depth, __ATOMIC_RELAXED);
    for (size_t i = 0; i < depth; i++)
        __atomic_store_n(&s->frames[i], frames[i], __ATOMIC_RELAXED);
    __atomic_store_n(&s->ready, 1, __ATOMIC_RELEASE);
}

void sites_count(struct remap_stats_sites *t, const struct stats_call *call, const uint64_t *frames,
                 size_t depth)
{
    struct remap_stats_site *s = slot_of(t, hash(call->way, frames, depth));
    if (!s) {
        sites_drop(t);
        return;
    }
    describe(s, call->way, frames, depth);
    add(&s->moves, 1);
    add(&s->bytes, call->bytes);
    add(&s->ns, call->nanoseconds);
    if (!stats_is_relocation(call->outcome))
        return;
    add(&s->relocated, 1);
    add(&s->merged, call->merged_left + call->merged_right);
}

void sites_drop(struct remap_stats_sites *t)
{
    add(&t->dropped, 1);
}
