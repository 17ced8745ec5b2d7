/* SPDX-License-Identifier: MIT */
#include "process.h"

#include "gate.h"
#include "kernel.h"
#include "log.h"
#include "page_size.h"
#include "place.h"
#include "stats.h"
#include "unwind.h"
#include "zone.h"

/* How often a thread yields to the one that is making or opening what it needs. */
#define PATIENCE 1000

/* struct process.ours */
enum { SETTLING = 1, SETTLED = 2 };

/* What stays true in a forked child. */
static struct remap_options options;
static struct remap_option_texts option_texts;
static bool options_read;
static enum process_activity activity = PROCESS_INERT;
static struct probe_result probe;
static _Atomic bool probed;
static bool warned;
static struct remap_stats_way ways[REMAP_WAY_COUNT];
static _Atomic bool other_uffd;
static bool sites_are_recorded;

static struct descriptor inherited[3]; /* what a parent had open: closed in the child */

static _Atomic(struct process *) pages; /* wiped by fork */
static _Atomic uint32_t starting;       /* one at a time; the others move plainly */

/* By the options: not off, and meant for programs of this name. */
static bool is_wanted(void)
{
    if (options.policy == POLICY_OFF)
        return false;
    if (*options.exe == '\0')
        return true;
    char path[256];
    long len = k_readlinkat(AT_FDCWD, "/proc/self/exe", path, sizeof(path) - 1);
    if (len < 0)
        return false;
    path[len] = '\0';
    while (len > 0 && path[len - 1] != '/')
        len--;
    return options_exe_matches(options.exe, path + len);
}

void process_init(char *const *envp)
{
    if (options_read)
        return;
    options_read = true;
    if (getauxval(AT_SECURE) != 0)
        return; /* setuid and the like: the environment is not ours to believe */
    options_parse(&options, envp);
    activity = is_wanted() ? PROCESS_ACTIVE : PROCESS_INERT;
    options_keep(&options, &option_texts);
}

enum process_activity process_activity(void)
{
    return activity;
}

const struct remap_options *process_options(void)
{
    return &options;
}

void process_set_way(enum remap_way way, enum remap_why why, long error)
{
    ways[way] = (struct remap_stats_way){
        .seen = why == REMAP_WHY_NONE || why == REMAP_WHY_INHERITED,
        .why = (uint16_t)why,
        .error = (uint16_t)-error,
    };
}

void process_record_sites(void)
{
    sites_are_recorded = true;
}

long process_threads(void)
{
    struct stat st = {0};
    long ret = k_fstatat(AT_FDCWD, "/proc/self/task", &st, 0);
    return k_failed(ret) ? ret : (long)st.st_nlink - 2; /* proc(5): each is a directory there */
}

void process_saw_userfaultfd(void)
{
    atomic_store_explicit(&other_uffd, true, memory_order_relaxed);
}

bool process_has_other_uffd(void)
{
    return atomic_load_explicit(&other_uffd, memory_order_relaxed);
}

const struct probe_result *process_probe(void)
{
    return &probe;
}

/* A bad value is told once, by a process that would have used it. */
static void warn_of_bad_values(void)
{
    for (int id = 0; id < OPTION_COUNT && !warned; id++) {
        if (!(options.bad & (1u << id)))
            continue;
        const struct remap_option_info *row = &remap_option_table[id];
        char message[512];
        struct text t;
        text_start(&t, message, sizeof(message));
        text_add(&t, row->variable);
        text_add(&t, "='");
        for (const char *s = options.raw[id]; *s != '\0' && t.len < 120; s++)
            text_add_n(&t, *s >= ' ' && *s <= '~' ? s : "?", 1);
        text_add(&t, "' is not valid (allowed: ");
        text_add(&t, row->allowed);
        text_add(&t, "); using the default '");
        text_add(&t, row->fallback);
        text_add(&t, "'");
        log_write(&options, LOG_WARN, message);
    }
    warned = true;
}

static void tell_tier(void)
{
    if (!log_wanted(&options, LOG_INFO))
        return;
    static const char *const names[] = {"none", "native", "uffd", "copy"};
    char message[512];
    struct text t;
    text_start(&t, message, sizeof(message));
    text_add(&t, "tier ");
    text_add(&t, names[probe.tier]);
    text_add(&t, " on Linux ");
    text_add(&t, probe.kernel);
    if (*probe.tier_why != '\0') {
        text_add(&t, ": ");
        text_add(&t, probe.tier_why);
    }
    log_write(&options, LOG_INFO, message);
}

static void open_statistics(struct process *p)
{
    stats_describe(&p->local, &options, &probe, sites_are_recorded);
    for (int way = 0; way < REMAP_WAY_COUNT; way++)
        p->local.ways[way] = ways[way];
    struct remap_stats *file = NULL;
    long error = 0;
    if (options.stats != STATS_OFF)
        file = stats_create_file(&p->local, &options, p->stats_path, sizeof(p->stats_path), &error);
    if (file) {
        p->stats = file;
        return;
    }
    p->local.identity.sites_offset = 0; /* they would be in the file */
    p->local.ready = 1;
    p->stats = &p->local;
    if (error != 0 && log_wanted(&options, LOG_INFO)) {
        char message[256];
        struct text t;
        text_start(&t, message, sizeof(message));
        text_add(&t, "no statistics file (errno ");
        text_add_number(&t, (uint64_t)-error);
        text_add(&t, "): the directory must be ours, no symlink, writable by us alone, and have "
                     "room; set REMAP_STATS_DIR or REMAP_STATS=off");
        log_write(&options, LOG_INFO, message);
    }
}

static struct process *make(void)
{
    struct process *p = atomic_load_explicit(&pages, memory_order_acquire);
    if (!p) {
        size_t size = page_align(sizeof(*p));
        if (!place_is_there_room())
            return NULL;
        long ret = zone_map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        if (k_failed(ret))
            return NULL;
        if (k_failed(k_madvise((uintptr_t)ret, size, MADV_WIPEONFORK))) {
            k_munmap((uintptr_t)ret, size);
            return NULL;
        }
        p = (struct process *)(uintptr_t)ret;
        atomic_store_explicit(&p->ours, SETTLED, memory_order_relaxed);
    }
    p->maps = p->pagemap = p->uffd = DESCRIPTOR_NONE;
    for (int i = 0; i < 3; i++) {
        if (inherited[i].inode != 0)
            descriptor_close(&inherited[i]);
    }
    warn_of_bad_values();
    if (!atomic_load_explicit(&probed, memory_order_acquire)) {
        probe_run(&probe, &options);
        tell_tier();
        atomic_store_explicit(&probed, true, memory_order_release);
    }
    open_statistics(p);
    if (descriptor_open_proc(&p->maps, "/proc/self/maps") == 0)
        inherited[0] = p->maps;
    if (probe.tier != REMAP_TIER_NONE && probe.tier == probe.own_tier) {
        process_have_uffd(p);
        process_have_pagemap(p);
    }
    atomic_store_explicit(&p->ready, 1, memory_order_release);
    atomic_store_explicit(&pages, p, memory_order_release);
    return p;
}

bool process_is_starting(void)
{
    return atomic_load_explicit(&starting, memory_order_relaxed) != 0;
}

struct process *process_peek(void)
{
    struct process *p = atomic_load_explicit(&pages, memory_order_acquire);
    return p && atomic_load_explicit(&p->ready, memory_order_acquire) ? p : NULL;
}

void process_settle(void)
{
    struct process *p = atomic_load_explicit(&pages, memory_order_acquire);
    if (!p || atomic_load_explicit(&p->ours, memory_order_acquire) == SETTLED)
        return;
    uint32_t nobody = 0;
    if (atomic_compare_exchange_strong_explicit(&p->ours, &nobody, SETTLING, memory_order_acquire,
                                                memory_order_relaxed)) {
        gate_reset_in_child();
        place_reset_in_child();
        unwind_reset_in_child();
        atomic_store_explicit(&starting, 0, memory_order_relaxed);
        atomic_store_explicit(&p->ours, SETTLED, memory_order_release);
        return;
    }
    for (int i = 0; i < PATIENCE && atomic_load_explicit(&p->ours, memory_order_acquire) != SETTLED;
         i++)
        k_sched_yield();
}

void process_in_child(void)
{
    atomic_store_explicit(&starting, 0, memory_order_relaxed);
    process_settle();
}

struct process *process_get(void)
{
    struct process *p = process_peek();
    if (p)
        return p;
    process_settle();
    k_sigset all = ~(k_sigset)0;
    k_sigset saved;
    /* Signals are blocked while the state is made, so who finds it in the making is another thread
     * and may wait: for a moment, since the maker could be of lower priority. */
    for (int i = 0; !p && i < PATIENCE; i++) {
        if (k_failed(k_sigprocmask(SIG_SETMASK, &all, &saved)))
            return NULL;
        if (atomic_exchange_explicit(&starting, 1, memory_order_acquire) == 0) {
            p = process_peek();
            if (!p)
                p = make();
            atomic_store_explicit(&starting, 0, memory_order_release);
            k_sigprocmask(SIG_SETMASK, &saved, NULL);
            return p;
        }
        k_sigprocmask(SIG_SETMASK, &saved, NULL);
        k_sched_yield();
        p = process_peek();
    }
    return p;
}

/* One thread reopens (with signals blocked, as in every move); another waits for a moment. */
static bool reopen(struct process *p, struct descriptor *d, long (*open)(struct descriptor *))
{
    for (int i = 0; atomic_exchange_explicit(&p->reopening, 1, memory_order_acquire) != 0; i++) {
        if (i == PATIENCE)
            return false;
        k_sched_yield();
    }
    bool ok = descriptor_is_ours(d);
    if (!ok) {
        struct descriptor fresh;
        ok = open(&fresh) == 0;
        if (ok) {
            *d = fresh;
            inherited[d == &p->uffd ? 1 : d == &p->pagemap ? 2 : 0] = fresh;
        }
    }
    atomic_store_explicit(&p->reopening, 0, memory_order_release);
    return ok;
}

static long open_uffd(struct descriptor *d)
{
    uint64_t features = probe.own_tier == REMAP_TIER_UFFD ? K_UFFD_FEATURE_MOVE : 0;
    long ret = descriptor_open_uffd(d, probe.user_mode_only, features);
    if (ret == -EPERM && !probe.user_mode_only) /* privileges were dropped after the probe */
        ret = descriptor_open_uffd(d, true, features);
    return ret;
}

static long open_pagemap(struct descriptor *d)
{
    return descriptor_open_proc(d, "/proc/self/pagemap");
}

static long open_maps(struct descriptor *d)
{
    return descriptor_open_proc(d, "/proc/self/maps");
}

bool process_have_uffd(struct process *p)
{
    return descriptor_is_ours(&p->uffd) || reopen(p, &p->uffd, open_uffd);
}

bool process_have_pagemap(struct process *p)
{
    return descriptor_is_ours(&p->pagemap) || reopen(p, &p->pagemap, open_pagemap);
}

void process_drop_uffd(struct process *p)
{
    descriptor_close(&p->uffd);
}

static bool has_query(void)
{
    return probe.features[REMAP_FEATURE_PROCMAP_QUERY].answer == REMAP_ANSWER_PRESENT;
}

/* The number may mean another file by now. */
static bool renewed_maps(struct process *p)
{
    return !descriptor_is_ours(&p->maps) && reopen(p, &p->maps, open_maps);
}

/* A query of another file fails; its text may be anything. */
static bool maps_is_ours(struct process *p)
{
    return has_query() || descriptor_is_ours(&p->maps) || reopen(p, &p->maps, open_maps);
}

long process_vma_at(struct process *p, uintptr_t addr, struct vma *out)
{
    if (!maps_is_ours(p))
        return -EBADF;
    long ret = vma_at(p->maps.fd, has_query(), addr, out);
    if (ret != 0 && ret != -ENOENT && renewed_maps(p))
        ret = vma_at(p->maps.fd, has_query(), addr, out);
    return ret;
}

long process_vmas(struct process *p, uintptr_t start, uintptr_t end, struct vma *out, size_t max)
{
    if (!maps_is_ours(p))
        return -EBADF;
    long ret = vma_list(p->maps.fd, has_query(), start, end, out, max);
    if (ret < 0 && renewed_maps(p))
        ret = vma_list(p->maps.fd, has_query(), start, end, out, max);
    return ret;
}

void process_set_last(struct process *p, uintptr_t start, uintptr_t end, int prot)
{
    atomic_store_explicit(&p->last_start, start, memory_order_relaxed);
    atomic_store_explicit(&p->last_end, end, memory_order_relaxed);
    atomic_store_explicit(&p->last_prot, prot, memory_order_relaxed);
}

bool process_adjoins_last(struct process *p, uintptr_t start, uintptr_t end, int prot)
{
    return atomic_load_explicit(&p->last_prot, memory_order_relaxed) == prot &&
           (atomic_load_explicit(&p->last_end, memory_order_relaxed) == start ||
            atomic_load_explicit(&p->last_start, memory_order_relaxed) == end);
}

void process_end(void)
{
    struct process *p = process_peek();
    if (p && p->stats_path[0] != '\0' && options.stats != STATS_KEEP)
        stats_remove_file(p->stats, p->stats_path);
}
