/* SPDX-License-Identifier: MIT */
#include "stats.h"

#include <sys/file.h>

#include "kernel.h"
#include "page_size.h"
#include "sites.h"
#include "text.h"
#include "zone.h"

_Static_assert(REMAP_OUTCOME_COUNT <= REMAP_STATS_OUTCOMES, "outcomes outgrew the file");
_Static_assert(REMAP_REASON_COUNT <= REMAP_STATS_REASONS, "reasons outgrew the file");
_Static_assert(REMAP_STEP_COUNT <= REMAP_STATS_STEPS, "steps outgrew the file");
_Static_assert(REMAP_TIER_COUNT <= REMAP_STATS_TIERS, "tiers outgrew the file");
_Static_assert(REMAP_FEATURE_COUNT <= REMAP_STATS_FEATURES, "features outgrew the file");
_Static_assert(REMAP_WAY_COUNT <= REMAP_STATS_WAYS, "ways outgrew the file");

/* What stands before the counters, for readers with a small stack. */
struct stats_head {
    char magic_and_versions[offsetof(struct remap_stats, identity)];
    struct remap_stats_identity identity;
};
_Static_assert(offsetof(struct stats_head, identity) == offsetof(struct remap_stats, identity),
               "the head is not the head of the file");

/* Where call sites begin: on a cache line of their own. */
#define SITES_OFFSET ((uint32_t)((sizeof(struct remap_stats) + 63u) & ~63u))

static void add(uint64_t *counter, uint64_t value)
{
    if (value != 0)
        __atomic_fetch_add(counter, value, __ATOMIC_RELAXED);
}

static unsigned errno_slot(long error)
{
    uint64_t e = (uint64_t)(error < 0 ? -error : error);
    return (unsigned)(e < REMAP_STATS_ERRNOS ? e : REMAP_STATS_ERRNOS - 1);
}

void stats_step(struct remap_stats *s, enum remap_step step, long error)
{
    add(&s->counters.steps[step], 1);
    add(&s->counters.step_errnos[errno_slot(error)], 1);
}

static unsigned bucket(uint64_t ns)
{
    unsigned n = ns < 2 ? 0 : 63u - (unsigned)__builtin_clzll(ns);
    return n < REMAP_STATS_BUCKETS ? n : REMAP_STATS_BUCKETS - 1;
}

void stats_call(struct remap_stats *s, const struct stats_call *call)
{
    struct remap_stats_counters *c = &s->counters;
    add(&c->calls, 1);
    add(&s->ways[call->way].calls, 1);
    add(&c->outcomes[call->outcome], 1);
    add(&c->reasons[call->reason], 1);
    if (call->outcome == REMAP_OUTCOME_FAILED)
        add(&c->call_errnos[errno_slot(call->error)], 1);
    add(&c->rescued, call->rescued);
    if (call->span_vmas != 0) {
        add(&c->spans, 1);
        add(&c->span_vmas, call->span_vmas);
    }
    if (!call->moved)
        return;
    add(&c->moves, 1);
    add(&c->tier_moves[call->tier], 1);
    add(&c->tier_bytes[call->tier], call->bytes);
    add(&c->tier_ns[call->tier], call->nanoseconds);
    if (!stats_is_relocation(call->outcome))
        return;
    add(&c->relocated, 1);
    add(&c->merged_left, call->merged_left);
    add(&c->merged_right, call->merged_right);
    add(&c->saved, call->merged_left + call->merged_right);
    add(&c->pages_moved, call->pages);
    add(&c->pages_copied, call->pages_copied);
    add(&c->histogram[bucket(call->nanoseconds)], 1);
}

/* Field 22 of /proc/self/stat. The command name before it may hold anything, so count from ')'. */
static uint64_t start_time(void)
{
    char buf[512];
    long fd = k_openat(AT_FDCWD, "/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
    if (k_failed(fd))
        return 0;
    long got = k_read((int)fd, buf, sizeof(buf) - 1);
    k_close((int)fd);
    if (got <= 0)
        return 0;
    buf[got] = '\0';
    const char *s = buf + got;
    while (s > buf && *s != ')')
        s--;
    for (int field = 2; *s != '\0' && field < 22; s++) {
        if (*s == ' ')
            field++;
    }
    uint64_t value = 0;
    return text_number(&s, 10, &value) ? value : 0;
}

/* The last component of /proc/self/exe. */
static void executable_name(char *out, size_t size)
{
    char path[256] = "";
    long len = k_readlinkat(AT_FDCWD, "/proc/self/exe", path, sizeof(path));
    size_t from = 0;
    for (long i = 0; i < len; i++) {
        if (path[i] == '/')
            from = (size_t)i + 1;
    }
    struct text t;
    text_start(&t, out, size);
    if (len > 0)
        text_add_n(&t, path + from, (size_t)len - from);
}

void stats_describe(struct remap_stats *s, const struct remap_options *o,
                    const struct probe_result *probe, bool sites)
{
    struct text t;
    *s = (struct remap_stats){
        .version_major = REMAP_STATS_VERSION_MAJOR,
        .version_minor = REMAP_STATS_VERSION_MINOR,
        .size = sizeof(*s),
    };
    __builtin_memcpy(s->magic, REMAP_STATS_MAGIC, sizeof(s->magic));
    struct remap_stats_identity *id = &s->identity;
    id->pid = (uint32_t)k_getpid();
    id->uid = (uint32_t)k_geteuid();
    id->start_time = start_time();
    id->started_ns = k_realtime_ns();
    id->run_id = o->run_id;
    id->tier = probe->tier;
    id->policy = o->policy;
    id->min_bytes = o->min_bytes;
    id->max_bytes = o->max_bytes;
    id->keep = o->stats == STATS_KEEP;
    id->sites_offset = sites ? SITES_OFFSET : 0;
    executable_name(id->comm, sizeof(id->comm));
    text_start(&t, id->kernel, sizeof(id->kernel));
    text_add(&t, probe->kernel);
    text_start(&t, id->library, sizeof(id->library));
    text_add(&t, REMAP_VERSION);
    for (int f = 0; f < REMAP_FEATURE_COUNT; f++) {
        id->features[f].answer = probe->features[f].answer;
        id->features[f].error = probe->features[f].error;
    }
}

/* A directory that is ours alone to write in, and no symlink. Makes it if `make`. */
static long open_directory(const char *path, bool make)
{
    if (make)
        k_mkdirat(AT_FDCWD, path, 0700); /* if it is there, the checks below decide */
    long fd = k_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (k_failed(fd))
        return fd;
    struct stat st = {0};
    long ret = k_fstat((int)fd, &st);
    if (!k_failed(ret) && (st.st_uid != (uid_t)k_geteuid() || (st.st_mode & 022) != 0))
        ret = -EPERM;
    if (k_failed(ret)) {
        k_close((int)fd);
        return ret;
    }
    return fd;
}

/* The directory to use; its path without a trailing slash goes to t. */
static long choose_directory(const struct remap_options *o, struct text *t)
{
    if (*o->stats_dir != '\0') {
        text_add(t, o->stats_dir);
        return open_directory(t->buf, true);
    }
    if (*o->xdg_runtime_dir != '\0') {
        text_add(t, o->xdg_runtime_dir);
        text_add(t, "/remap");
        long fd = t->cut ? -ENAMETOOLONG : open_directory(t->buf, true);
        if (!k_failed(fd))
            return fd;
        text_start(t, t->buf, t->size);
    }
    text_add(t, "/dev/shm/remap-");
    text_add_number(t, (uint64_t)k_geteuid());
    return open_directory(t->buf, true);
}

/* Removes a file that nobody holds any more. True if the name is free now. */
static bool remove_if_stale(int dir, const char *name)
{
    long fd = k_openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    if (k_failed(fd))
        return fd == -ENOENT;
    struct stat st = {0};
    struct stat now = {0};
    bool removed = !k_failed(k_fstat((int)fd, &st)) && S_ISREG(st.st_mode) &&
                   st.st_uid == (uid_t)k_geteuid() &&
                   !k_failed(k_flock((int)fd, LOCK_EX | LOCK_NB)) &&
                   !k_failed(k_fstatat(dir, name, &now, AT_SYMLINK_NOFOLLOW)) &&
                   now.st_ino == st.st_ino && !k_failed(k_unlinkat(dir, name, 0));
    k_close((int)fd);
    return removed;
}

/* True for the names that we give: a process id, perhaps with ".n". */
static bool is_file_name(const char *s)
{
    uint64_t n;
    return text_number(&s, 10, &n) &&
           (*s == '\0' || (*s++ == '.' && text_number(&s, 10, &n) && *s == '\0'));
}

/* Left behind on purpose (REMAP_STATS=keep), and less than a day ago. */
static bool is_kept(int dir, const char *name)
{
    struct stats_head head = {0};
    long fd = k_openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    if (k_failed(fd))
        return false;
    bool kept = k_read((int)fd, &head, sizeof(head)) == (long)sizeof(head) &&
                head.identity.keep == 1 &&
                k_realtime_ns() - head.identity.started_ns < 86400ull * 1000000000ull;
    k_close((int)fd);
    return kept;
}

/* Files of the dead, a handful at each start, so that they do not pile up. */
static void remove_stale_files(int dir)
{
    enum { AT_MOST = 16 };
    char buf[1024] __attribute__((aligned(8)));
    int removed = 0;
    for (int reads = 0; reads < 16 && removed < AT_MOST; reads++) {
        long got = k_getdents64(dir, buf, sizeof(buf));
        if (got <= 0)
            return;
        for (long at = 0; at < got && removed < AT_MOST;) {
            uint16_t length;
            __builtin_memcpy(&length, buf + at + 16, sizeof(length));
            const char *name = buf + at + 19;
            if (is_file_name(name) && !is_kept(dir, name) && remove_if_stale(dir, name))
                removed++;
            at += length;
        }
    }
}

/* Creates and locks a file of a name that is free. Its name goes to t. */
static long create_locked(int dir, struct text *t)
{
    size_t base = t->len;
    text_add(t, "/");
    text_add_number(t, (uint64_t)k_getpid());
    for (unsigned n = 0; n < 16 && !t->cut; n++) {
        const char *name = t->buf + base + 1;
        for (int attempt = 0; attempt < 3; attempt++) {
            long fd = k_openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
            if (fd == -EEXIST && !is_kept(dir, name) && remove_if_stale(dir, name))
                continue;
            if (fd == -EEXIST)
                break; /* in use, or not ours: the next name */
            if (k_failed(fd))
                return fd;
            struct stat st = {0};
            /* A cleaner may have locked and removed it in between. */
            if (!k_failed(k_flock((int)fd, LOCK_EX | LOCK_NB)) &&
                !k_failed(k_fstat((int)fd, &st)) && st.st_nlink == 1)
                return fd;
            k_close((int)fd);
        }
        while (t->len > base + 1 && t->buf[t->len - 1] != '.' && n != 0)
            t->len--;
        if (n == 0)
            text_add(t, ".");
        text_add_number(t, n + 1);
    }
    return t->cut ? -ENAMETOOLONG : -EEXIST;
}

/* Writes [from, from + size) behind what was written; NULL: zeroes. */
static long write_fully(int fd, const char *from, size_t size)
{
    static const char zeroes[1024];
    size_t done = 0;
    while (done < size) {
        size_t left = size - done;
        long ret = from ? k_write(fd, from + done, left)
                        : k_write(fd, zeroes, left < sizeof(zeroes) ? left : sizeof(zeroes));
        if (k_failed(ret) && ret != -EINTR)
            return ret;
        done += k_failed(ret) ? 0 : (size_t)ret;
    }
    return 0;
}

/* The mapping, or -errno. */
static long fill_and_map(int fd, const struct remap_stats *content)
{
    /* Written, not truncated to size: a full tmpfs says so now and not by SIGBUS later. */
    size_t size = content->identity.sites_offset;
    long ret = write_fully(fd, (const char *)content, sizeof(*content));
    if (size != 0) {
        size += SITES_SIZE;
        if (ret == 0)
            ret = write_fully(fd, NULL, size - sizeof(*content));
    } else {
        size = sizeof(*content);
    }
    if (ret == 0)
        ret = zone_map(page_align(size), PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    if (!k_failed(ret)) /* a child must neither write here nor hold the lock */
        k_madvise((uintptr_t)ret, page_align(size), MADV_DONTFORK);
    return ret;
}

struct remap_stats *stats_create_file(const struct remap_stats *content,
                                      const struct remap_options *o, char *path, size_t path_size,
                                      long *error)
{
    struct text t;
    text_start(&t, path, path_size);
    long dir = choose_directory(o, &t);
    long fd = t.cut ? -ENAMETOOLONG : dir;
    if (!k_failed(fd)) {
        remove_stale_files((int)dir);
        fd = create_locked((int)dir, &t);
        k_close((int)dir);
    }
    long ret = fd;
    if (!k_failed(fd)) {
        ret = fill_and_map((int)fd, content);
        if (k_failed(ret))
            k_unlinkat(AT_FDCWD, path, 0);
        k_close((int)fd); /* the mapping keeps the file, and with it the lock */
    }
    if (k_failed(ret)) {
        *error = ret;
        path[0] = '\0';
        return NULL;
    }
    struct remap_stats *s = (struct remap_stats *)(uintptr_t)ret;
    struct remap_stats_sites *sites = stats_sites(s);
    if (sites)
        sites_describe(sites, o->callers);
    __atomic_store_n(&s->ready, 1, __ATOMIC_RELEASE);
    return s;
}

struct remap_stats_sites *stats_sites(struct remap_stats *s)
{
    /* Where it is the file need not tell us. */
    return s->identity.sites_offset != 0 ? (struct remap_stats_sites *)((char *)s + SITES_OFFSET)
                                         : NULL;
}

void stats_remove_file(const struct remap_stats *mapping, const char *path)
{
    struct stats_head head = {0};
    long fd = k_openat(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    if (k_failed(fd))
        return;
    if (k_read((int)fd, &head, sizeof(head)) == (long)sizeof(head) &&
        head.identity.pid == mapping->identity.pid &&
        head.identity.started_ns == mapping->identity.started_ns)
        k_unlinkat(AT_FDCWD, path, 0);
    k_close((int)fd);
}
