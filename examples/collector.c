/* SPDX-License-Identifier: MIT */
/*
 * A model of a compacting collector: the heap is one reserved address range, objects are born at
 * scattered places, and each cycle moves the live ones next to each other with mremap(). No data is
 * copied. With plain mremap() every object that was ever moved stays a VMA of its own.
 *
 *   reservation:  [ semispace 0 | semispace 1 | nursery: scattered slots, or one batch ]
 *
 * Every page holds a pattern made of the object's id, the page's index and a version that the
 * reader threads bump, so lost, stale and swapped pages are all seen.
 *
 * Knows nothing of libremap but its header: where the library is preloaded, its counters are
 * printed too. Prints key=value pairs on one line. Exit status: 0 right, 2 usage, 3 the kernel
 * said ENOMEM, 4 wrong contents, 1 any other failure.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "maps.h"
#include "remap.h"

enum { EXIT_USAGE = 2, EXIT_DIED = 3, EXIT_CORRUPT = 4 };

/* Above this no machine of ordinary size holds as many objects as --exhaust would need. */
#define EXHAUST_LIMIT   200000u
#define EXHAUST_DEFAULT 65530u
#define BATCH           2048u
#define MAX_THREADS     64u
/* Free address space above the reservation; see reserve_heap(). */
#define HEADROOM (16ull << 30)

struct settings {
    unsigned objects;
    size_t min_bytes;
    size_t max_bytes;
    unsigned cycles;
    unsigned threads;
    uint64_t seed;
    bool exhaust;
};

struct object {
    char *address; /* NULL: not in use */
    size_t length;
    uint64_t id;
    uint64_t version;
    atomic_bool busy; /* held by whoever reads, moves, makes or kills the object */
};

static struct settings settings = {
    .objects = 3000,
    .min_bytes = 16 << 10,
    .max_bytes = 256 << 10,
    .cycles = 8,
    .threads = 1,
    .seed = 1,
};
static size_t page;
static struct object *objects;
static struct object **live; /* scratch: the live objects in the order in which they move */
static char **targets;       /* scratch: where live[i] moves */
static char *space[2];       /* the semispaces */
static unsigned current;     /* the semispace that objects live in */
static size_t space_bytes;
static char *nursery;
static size_t nursery_bytes;
static size_t slot_bytes;
static unsigned slots;
static bool *slot_used;
static uint64_t next_id = 1;
static _Atomic uint64_t moves;
static _Atomic uint64_t errors;
static atomic_bool stop_readers;
static uint64_t checks; /* by the reader threads, added up when they end */
static uint64_t move_ns;

/* ---- small things ---- */

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* splitmix64: small, and the same on every machine. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t draw(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    return mix(*state);
}

static size_t draw_below(uint64_t *state, size_t bound)
{
    return (size_t)(draw(state) % bound);
}

static _Noreturn void fail(const char *call)
{
    static atomic_bool failing;
    char text[256];
    unsigned vmas, runs;
    int error = errno;
    int length;

    if (atomic_exchange(&failing, true))
        for (;;)
            pause();                          /* another thread is telling it already */
    if (error == ENOMEM || error == EAGAIN) { /* EAGAIN: pthread_create() without room */
        count_mappings(&vmas, &runs);
        length =
            snprintf(text, sizeof text,
                     "died: ENOMEM after %" PRIu64 " moves with %u VMAs (vm.max_map_count=%lu)\n"
                     "call=%s moves=%" PRIu64 " vmas=%u runs=%u seconds_moves=%.3f died=1\n",
                     moves, vmas, max_map_count(), call, moves, vmas, runs, (double)move_ns / 1e9);
    } else {
        length = snprintf(text, sizeof text, "collector: %s: %s\n", call, strerror(error));
    }
    fflush(stdout);
    if (write(error == ENOMEM || error == EAGAIN ? 1 : 2, text, (size_t)length) < 0)
        _exit(1);
    _exit(error == ENOMEM || error == EAGAIN ? EXIT_DIED : 1);
}

/* ---- memory ---- */

/* What lies there, if anything, is gone; the addresses are ours. */
static void reserve(char *address, size_t length)
{
    if (mmap(address, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
             -1, 0) == MAP_FAILED)
        fail("mmap");
}

static void commit(char *address, size_t length)
{
    if (mprotect(address, length, PROT_READ | PROT_WRITE))
        fail("mprotect");
}

/*
 * A moved object leaves a hole until the cycle ends, and re-reserving the space would unmap
 * whatever the kernel had put there meanwhile (a thread's stack, say). The kernel takes the highest
 * hole that fits, so free space is left above the heap.
 */
static void reserve_heap(void)
{
    size_t all = 2 * space_bytes + nursery_bytes;
    char *heap =
        mmap(NULL, all + HEADROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (heap == MAP_FAILED)
        fail("mmap");
    if (munmap(heap + all, HEADROOM))
        fail("munmap");
    space[0] = heap;
    space[1] = heap + space_bytes;
    nursery = heap + 2 * space_bytes;
}

static void lock(struct object *object)
{
    while (atomic_exchange_explicit(&object->busy, true, memory_order_acquire))
        sched_yield();
}

static bool try_lock(struct object *object)
{
    return !atomic_exchange_explicit(&object->busy, true, memory_order_acquire);
}

static void unlock(struct object *object)
{
    atomic_store_explicit(&object->busy, false, memory_order_release);
}

/* ---- contents ---- */

static uint64_t page_seed(const struct object *object, size_t index)
{
    return mix(object->id * 0x100000001b3u + index);
}

/* Word 0 of each page carries the version, the others follow from the seed. */
static void fill(struct object *object)
{
    for (size_t index = 0; index < object->length / page; index++) {
        uint64_t seed = page_seed(object, index);
        uint64_t *words = (uint64_t *)(void *)(object->address + index * page);

        for (size_t i = 1; i < page / sizeof *words; i++)
            words[i] = seed + i * 0x2545f4914f6cdd1du;
        words[0] = seed ^ object->version;
    }
}

static bool check(const struct object *object)
{
    bool right = true;

    for (size_t index = 0; index < object->length / page; index++) {
        uint64_t seed = page_seed(object, index);
        uint64_t wrong = 0;
        const uint64_t *words = (const uint64_t *)(const void *)(object->address + index * page);

        for (size_t i = 1; i < page / sizeof *words; i++)
            wrong |= words[i] ^ (seed + i * 0x2545f4914f6cdd1du);
        wrong |= words[0] ^ seed ^ object->version;
        if (!wrong)
            continue;
        right = false;
        if (atomic_fetch_add(&errors, 1) < 10)
            fprintf(stderr, "collector: object %" PRIu64 " page %zu at %p: wrong contents\n",
                    object->id, index, (const void *)words);
    }
    return right;
}

static void bump_version(struct object *object)
{
    object->version++;
    for (size_t index = 0; index < object->length / page; index++)
        *(uint64_t *)(void *)(object->address + index * page) =
            page_seed(object, index) ^ object->version;
}

static void check_all(void)
{
    for (unsigned i = 0; i < settings.objects; i++) {
        lock(&objects[i]);
        if (objects[i].address)
            check(&objects[i]);
        unlock(&objects[i]);
    }
}

/* Reads and writes objects all the while, whichever are not being moved at the moment. */
static void *reader(void *argument)
{
    uint64_t random = settings.seed + 1000u + (uintptr_t)argument;
    uint64_t done = 0;

    while (!atomic_load_explicit(&stop_readers, memory_order_relaxed)) {
        struct object *object = &objects[draw_below(&random, settings.objects)];

        if (!try_lock(object))
            continue;
        if (object->address && check(object)) {
            bump_version(object);
            done++;
        }
        unlock(object);
    }
    return (void *)(uintptr_t)done;
}

/* ---- birth and death ---- */

static size_t draw_length(uint64_t *random)
{
    size_t pages = (settings.max_bytes - settings.min_bytes) / page + 1;

    return settings.min_bytes + draw_below(random, pages) * page;
}

static void give_birth(struct object *object, char *address, size_t length)
{
    lock(object);
    object->address = address;
    object->length = length;
    object->id = next_id++;
    object->version = 0;
    fill(object);
    unlock(object);
}

static void bury(struct object *object, bool unmap)
{
    lock(object);
    if (!unmap)
        reserve(object->address, object->length);
    else if (munmap(object->address, object->length))
        fail("munmap");
    object->address = NULL;
    unlock(object);
}

/* New objects for all that are not in use, each in a slot of its own somewhere in the nursery. */
static void give_birth_scattered(uint64_t *random)
{
    for (unsigned i = 0; i < settings.objects; i++) {
        size_t slot, length;
        char *address;

        if (objects[i].address)
            continue;
        do
            slot = draw_below(random, slots);
        while (slot_used[slot]);
        slot_used[slot] = true;
        address = nursery + slot * slot_bytes;
        length = draw_length(random);
        commit(address, length);
        give_birth(&objects[i], address, length);
    }
}

/* One of `one_in` dies. */
static void bury_some(uint64_t *random, size_t one_in)
{
    for (unsigned i = 0; i < settings.objects; i++)
        if (objects[i].address && draw_below(random, one_in) == 0)
            bury(&objects[i], draw(random) & 1);
}

/* ---- moving ---- */

static void move(struct object *object, char *target)
{
    lock(object);
    if (mremap(object->address, object->length, object->length, MREMAP_MAYMOVE | MREMAP_FIXED,
               target) != target)
        fail("mremap");
    object->address = target;
    unlock(object);
    atomic_fetch_add_explicit(&moves, 1, memory_order_relaxed);
}

struct part {
    size_t first;
    size_t count;
};

static void *mover(void *argument)
{
    const struct part *part = argument;

    for (size_t i = part->first; i < part->first + part->count; i++)
        move(live[i], targets[i]);
    return NULL;
}

static int by_address(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a;
    const struct object *y = *(struct object *const *)b;

    return (x->address > y->address) - (x->address < y->address);
}

/*
 * Moves all live objects to the other semispace, in address order, next to each other. Each mover
 * has a part of its own; a page stays free between two parts.
 */
static void evacuate(void)
{
    struct part parts[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    char *target = space[1 - current];
    uint64_t started;
    size_t count = 0;

    for (unsigned i = 0; i < settings.objects; i++)
        if (objects[i].address)
            live[count++] = &objects[i];
    qsort(live, count, sizeof *live, by_address);
    for (unsigned t = 0; t < settings.threads; t++) {
        parts[t].first = count * t / settings.threads;
        parts[t].count = count * (t + 1) / settings.threads - parts[t].first;
        for (size_t i = parts[t].first; i < parts[t].first + parts[t].count; i++) {
            targets[i] = target;
            target += live[i]->length;
        }
        target += page;
    }

    started = now_ns();
    for (unsigned t = 1; t < settings.threads; t++) {
        errno = pthread_create(&threads[t], NULL, mover, &parts[t]);
        if (errno)
            fail("pthread_create");
    }
    mover(&parts[0]);
    for (unsigned t = 1; t < settings.threads; t++)
        pthread_join(threads[t], NULL);
    move_ns += now_ns() - started;

    reserve(space[current], space_bytes);
    current = 1 - current;
}

static void clear_nursery(void)
{
    reserve(nursery, nursery_bytes);
    if (slot_used)
        memset(slot_used, 0, slots * sizeof *slot_used);
}

/* ---- the two kinds of run ---- */

static void run_cycles(uint64_t *random)
{
    for (unsigned cycle = 0; cycle < settings.cycles; cycle++) {
        give_birth_scattered(random);
        bury_some(random, 3);
        evacuate();
        clear_nursery();
        check_all();
    }
}

/*
 * Batches are born side by side in the nursery, which is one VMA, and the survivors are appended
 * to the old space in an order of their own (a copying collector's: by reachability, not by
 * address). So this process needs a handful of VMAs for what is contiguous, and plain mremap()
 * leaves one for each object.
 */
static void run_exhaust(uint64_t *random)
{
    char *top = space[current];
    unsigned next = 0;

    while (next < settings.objects) {
        size_t survivors = 0;
        char *address = nursery;
        uint64_t started;

        commit(nursery, nursery_bytes);
        for (unsigned i = 0; i < BATCH && next < settings.objects; i++) {
            size_t length = draw_length(random);

            if (draw_below(random, 8)) { /* one in eight is garbage at once */
                give_birth(&objects[next], address, length);
                live[survivors++] = &objects[next++];
            }
            address += length;
        }
        for (size_t i = survivors; i > 1; i--) {
            size_t j = draw_below(random, i);
            struct object *swap = live[i - 1];

            live[i - 1] = live[j];
            live[j] = swap;
        }
        started = now_ns();
        for (size_t i = 0; i < survivors; i++) {
            size_t length = live[i]->length;

            move(live[i], top);
            top += length;
        }
        move_ns += now_ns() - started;
        clear_nursery();
        for (size_t i = 0; i < survivors; i++)
            check(live[i]);
    }
    for (unsigned cycle = 0; cycle < settings.cycles; cycle++) {
        bury_some(random, 16);
        evacuate();
        check_all();
    }
}

/* ---- command line and report ---- */

static _Noreturn void usage(int status)
{
    fputs("usage: collector [--objects N] [--min-kb N] [--max-kb N] [--cycles N] [--threads N]\n"
          "                 [--seed N] [--small] [--exhaust]\n"
          "  --threads N  N movers on disjoint parts, N readers that check and write meanwhile\n"
          "  --small      a quick run\n"
          "  --exhaust    more live objects of one or two pages than vm.max_map_count\n",
          status ? stderr : stdout);
    exit(status);
}

static unsigned long number(const char *text, unsigned long low, unsigned long high)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = text ? strtoul(text, &end, 10) : 0;
    if (!text || *text < '0' || *text > '9' || errno || *end || value < low || value > high) {
        fprintf(stderr, "collector: a number from %lu to %lu is needed, not '%s'\n", low, high,
                text ? text : "");
        usage(EXIT_USAGE);
    }
    return value;
}

static void exhaust_settings(void)
{
    unsigned long limit = max_map_count();

    if (limit == 0 || limit > EXHAUST_LIMIT) {
        fprintf(stderr,
                "collector: vm.max_map_count is %lu here: too many to be reached with ordinary "
                "memory; running with as many objects as the usual limit needs\n",
                limit);
        limit = EXHAUST_DEFAULT;
    }
    settings.exhaust = true;
    settings.objects = (unsigned)(limit + limit / 8);
    settings.min_bytes = page;
    settings.max_bytes = 2 * page;
    settings.cycles = 1;
}

static void parse(int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        const char *name = arguments[i];
        const char *value = arguments[i + 1];

        if (strcmp(name, "--small") == 0) {
            settings.objects = 300;
            settings.max_bytes = 64 << 10;
            settings.cycles = 3;
        } else if (strcmp(name, "--exhaust") == 0) {
            exhaust_settings();
        } else if (strcmp(name, "--help") == 0) {
            usage(0);
        } else {
            if (strcmp(name, "--objects") == 0)
                settings.objects = (unsigned)number(value, 1, 10000000);
            else if (strcmp(name, "--min-kb") == 0)
                settings.min_bytes = (size_t)number(value, 1, 1 << 20) << 10;
            else if (strcmp(name, "--max-kb") == 0)
                settings.max_bytes = (size_t)number(value, 1, 1 << 20) << 10;
            else if (strcmp(name, "--cycles") == 0)
                settings.cycles = (unsigned)number(value, 0, 1000000);
            else if (strcmp(name, "--threads") == 0)
                settings.threads = (unsigned)number(value, 1, MAX_THREADS);
            else if (strcmp(name, "--seed") == 0)
                settings.seed = number(value, 0, ULONG_MAX);
            else
                usage(EXIT_USAGE);
            i++;
        }
    }
    settings.min_bytes = (settings.min_bytes + page - 1) / page * page;
    settings.max_bytes = (settings.max_bytes + page - 1) / page * page;
    if (settings.max_bytes < settings.min_bytes) {
        fputs("collector: --max-kb is less than --min-kb\n", stderr);
        exit(EXIT_USAGE);
    }
}

static void lay_out(void)
{
    objects = calloc(settings.objects, sizeof *objects);
    live = calloc(settings.objects, sizeof(struct object *));
    targets = calloc(settings.objects, sizeof(char *));
    space_bytes = settings.objects * settings.max_bytes + settings.threads * page;
    if (settings.exhaust) {
        nursery_bytes = BATCH * settings.max_bytes;
    } else {
        slots = 4 * settings.objects;
        slot_bytes = settings.max_bytes + page;
        slot_used = calloc(slots, sizeof *slot_used);
        nursery_bytes = slots * slot_bytes;
    }
    if (!objects || !live || !targets || (slots && !slot_used))
        fail("calloc");
    reserve_heap();
}

/* The library's counters, where it is preloaded: "reasons" says why calls were not relocated. */
static void print_counters(void)
{
#define REASON_KEY(id, key, help) key,
    static const char *const reasons[] = {REMAP_REASONS(REASON_KEY)};
    const char *separator = " reasons=";
    int (*statistics)(struct remap_stats *, size_t);
    void *symbol = dlsym(RTLD_DEFAULT, "remap_statistics");
    struct remap_stats stats;

    memcpy(&statistics, &symbol, sizeof statistics); /* ISO C knows no such cast */
    if (!symbol || statistics(&stats, sizeof stats) != 0)
        return;
    printf(" relocated=%" PRIu64 " merged=%" PRIu64 " saved=%" PRIu64, stats.counters.relocated,
           stats.counters.merged_left + stats.counters.merged_right, stats.counters.saved);
    for (int i = REMAP_REASON_NONE + 1; i < REMAP_REASON_COUNT; i++) {
        if (!stats.counters.reasons[i])
            continue;
        printf("%s%s:%" PRIu64, separator, reasons[i], stats.counters.reasons[i]);
        separator = ",";
    }
}

int main(int argc, char **argv)
{
    pthread_t readers[MAX_THREADS];
    uint64_t started = now_ns();
    uint64_t random;
    unsigned count = 0;
    unsigned vmas, runs;

    page = (size_t)sysconf(_SC_PAGESIZE);
    parse(argc, argv);
    random = settings.seed;
    /* Objects are smaller than a huge page and are moved one by one. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    lay_out();

    /* A single-threaded run stays really single-threaded. */
    for (unsigned t = 0; settings.threads > 1 && t < settings.threads; t++) {
        errno = pthread_create(&readers[t], NULL, reader, (void *)(uintptr_t)t);
        if (errno)
            fail("pthread_create");
    }
    if (settings.exhaust)
        run_exhaust(&random);
    else
        run_cycles(&random);
    atomic_store(&stop_readers, true);
    for (unsigned t = 0; settings.threads > 1 && t < settings.threads; t++) {
        void *done;

        pthread_join(readers[t], &done);
        checks += (uintptr_t)done;
    }
    check_all();

    for (unsigned i = 0; i < settings.objects; i++)
        count += objects[i].address != NULL;
    count_mappings(&vmas, &runs);
    printf("cycles=%u objects=%u threads=%u moves=%" PRIu64 " seconds_moves=%.3f seconds=%.3f "
           "vmas=%u runs=%u checks=%" PRIu64 " errors=%" PRIu64,
           settings.cycles, count, settings.threads, moves, (double)move_ns / 1e9,
           (double)(now_ns() - started) / 1e9, vmas, runs, checks, errors);
    print_counters();
    putchar('\n');
    return errors ? EXIT_CORRUPT : 0;
}
