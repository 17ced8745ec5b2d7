/* SPDX-License-Identifier: MIT */
/* The table of call sites, taken in whole: on plain memory, with threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../src/sites.c"

#define THREADS 4
#define ROUNDS  2000u

static struct remap_stats_sites *new_table(void)
{
    struct remap_stats_sites *t = calloc(1, SITES_SIZE);
    assert_non_null(t);
    sites_describe(t, 16);
    return t;
}

static struct remap_stats_site *slots_of(struct remap_stats_sites *t)
{
    return (struct remap_stats_site *)(t + 1);
}

static size_t used(struct remap_stats_sites *t, uint64_t *moves)
{
    size_t count = 0;
    *moves = 0;
    for (size_t i = 0; i < SITES_CAPACITY; i++) {
        if (slots_of(t)[i].key != 0) {
            assert_int_equal(slots_of(t)[i].ready, 1);
            *moves += slots_of(t)[i].moves;
            count++;
        }
    }
    return count;
}

static const struct stats_call relocated = {
    .outcome = REMAP_OUTCOME_UFFD, .bytes = 4096, .merged_left = 1, .merged_right = 1, .moved = 1};
static const struct stats_call plain = {.outcome = REMAP_OUTCOME_PLAIN, .bytes = 8192, .moved = 1};

static void described(void **state)
{
    (void)state;
    struct remap_stats_sites *t = new_table();
    assert_int_equal(t->capacity, SITES_CAPACITY);
    assert_int_equal(t->entry_size, sizeof(struct remap_stats_site));
    assert_int_equal(t->depth, 16);
    assert_int_equal(SITES_CAPACITY & (SITES_CAPACITY - 1), 0);
    free(t);
}

static void counts_in_one_slot(void **state)
{
    (void)state;
    const uint64_t frames[] = {0x1000, 0x2000, 0x3000};
    struct remap_stats_sites *t = new_table();
    uint64_t moves;
    for (int i = 0; i < 5; i++) {
        sites_count(t, &relocated, frames, 3);
        sites_count(t, &plain, frames, 3);
    }
    assert_int_equal(used(t, &moves), 1);
    for (size_t i = 0; i < SITES_CAPACITY; i++) {
        const struct remap_stats_site *s = &slots_of(t)[i];
        if (s->key == 0)
            continue;
        assert_int_equal(s->moves, 10);
        assert_int_equal(s->relocated, 5);
        assert_int_equal(s->merged, 10);
        assert_int_equal(s->bytes, 5 * 4096 + 5 * 8192);
        assert_int_equal(s->depth, 3);
        assert_int_equal(s->frames[2], 0x3000);
        assert_int_equal(s->frames[3], 0);
    }
    assert_int_equal(t->dropped, 0);
    free(t);
}

/* Another frame, another depth, another way: another site. */
static void tells_apart(void **state)
{
    (void)state;
    const uint64_t one[] = {0x1000, 0x2000, 0};
    const uint64_t other[] = {0x2000, 0x1000, 0};
    struct stats_call call = plain;
    struct remap_stats_sites *t = new_table();
    uint64_t moves;
    sites_count(t, &call, one, 2);
    sites_count(t, &call, other, 2);
    sites_count(t, &call, one, 1);
    sites_count(t, &call, one, 3);
    call.way = REMAP_WAY_TRAP;
    sites_count(t, &call, one, 2);
    assert_int_equal(used(t, &moves), 5);
    free(t);
}

/* Someone took the slot and was killed before it was written: the next one writes it. */
static void finishes_for_the_dead(void **state)
{
    (void)state;
    const uint64_t frames[] = {0x1000, 0x2000};
    struct remap_stats_sites *t = new_table();
    uint64_t moves;
    assert_non_null(slot_of(t, hash(REMAP_WAY_SYMBOL, frames, 2)));
    sites_count(t, &plain, frames, 2);
    assert_int_equal(used(t, &moves), 1);
    assert_int_equal(moves, 1);
    free(t);
}

static void full(void **state)
{
    (void)state;
    struct remap_stats_sites *t = new_table();
    uint64_t moves;
    for (uint64_t i = 1; i <= 4 * SITES_CAPACITY; i++)
        sites_count(t, &plain, &i, 1);
    size_t count = used(t, &moves);
    assert_in_range(count, SITES_CAPACITY - 8, SITES_CAPACITY);
    assert_int_equal(moves, count);
    assert_int_equal(moves + t->dropped, 4 * SITES_CAPACITY);
    free(t);
}

static void *count_all(void *argument)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t frames[] = {i % 100 + 1, 7};
        sites_count(argument, &plain, frames, 2);
    }
    return NULL;
}

static void by_threads(void **state)
{
    (void)state;
    struct remap_stats_sites *t = new_table();
    pthread_t ids[THREADS];
    uint64_t moves;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, count_all, t), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(ids[i], NULL), 0);
    assert_int_equal(used(t, &moves), 100);
    assert_int_equal(moves, THREADS * ROUNDS);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(described),   cmocka_unit_test(counts_in_one_slot),
        cmocka_unit_test(tells_apart), cmocka_unit_test(finishes_for_the_dead),
        cmocka_unit_test(full),        cmocka_unit_test(by_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
