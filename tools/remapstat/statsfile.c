/* SPDX-License-Identifier: MIT */
#include "statsfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "display.h"

/* A later minor version may be larger, and the file may be rounded up; this is beyond any doubt. */
#define SIZE_LIMIT (1 << 20)

/* The same for the table of call sites: slots, and bytes of each. */
#define SITES_LIMIT 4096u
#define SITE_LIMIT  4096u

/* What to do about damage. */
#define RESTART "; the program has to be started anew to get a good one"

bool statsfile_name(const char *basename)
{
    size_t n = strspn(basename, "0123456789");

    if (!n || n > 10)
        return false;
    if (!basename[n])
        return true;
    if (basename[n] != '.')
        return false;
    basename += n + 1;
    n = strspn(basename, "0123456789");
    return n && n <= 10 && !basename[n];
}

bool statsfile_is_candidate(const struct procfs_map *map, struct statsfile_candidate *out)
{
    static const char deleted[] = " (deleted)";
    size_t len = strlen(map->name), tail = sizeof(deleted) - 1;
    const char *slash;

    if (map->perms[3] != 's' || map->offset || !map->inode || map->name[0] != '/')
        return false;
    out->start = map->start;
    out->end = map->end;
    out->deleted = len > tail && strcmp(map->name + len - tail, deleted) == 0;
    out->path = strndup(map->name, out->deleted ? len - tail : len);
    if (!out->path)
        out_of_memory();
    slash = strrchr(out->path, '/');
    /* A JVM maps a file of its own that has the same name, in a directory hsperfdata_USER. */
    if (statsfile_name(slash + 1) && !strstr(out->path, "/hsperfdata_"))
        return true;
    free(out->path);
    return false;
}

/* `fd` was opened with O_PATH. Gives a descriptor for reading if it is a regular file. */
static int reopen(int fd)
{
    char path[32];
    struct stat st;
    int result;

    if (fstat(fd, &st) != 0)
        result = -errno;
    else if (!S_ISREG(st.st_mode))
        result = -EINVAL;
    else {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        result = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (result < 0)
            result = -errno;
    }
    close(fd);
    return result;
}

int statsfile_openat(int dir, const char *name)
{
    int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? -errno : reopen(fd);
}

/*
 * Opens an absolute path below the directory `root`. The kernel printed the path with every link
 * resolved, so a symbolic link on the way means that somebody has exchanged it since, perhaps to
 * lead a reader with more rights out of a container.
 */
int statsfile_open_below(int root, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS};
    long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));

    if (fd < 0 && (errno == ENOSYS || errno == EPERM)) /* before Linux 5.6; old seccomp profiles */
        return statsfile_openat(root, path + strspn(path, "/"));
    return fd < 0 ? -errno : reopen((int)fd);
}

static int open_candidate(const struct procfs *p, const struct statsfile_candidate *c)
{
    int result = -ENOENT;

    if (!c->deleted) {
        /* Its own root first: a container, or a mount namespace of systemd. The path is as seen
         * from our root if the process only did a chroot(). */
        int root = openat(p->dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root >= 0) {
            result = statsfile_open_below(root, c->path);
            close(root);
        }
        if (result < 0) {
            root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
            if (root >= 0) {
                result = statsfile_open_below(root, c->path);
                close(root);
            }
        }
    }
    if (result < 0) {
        /* A file without a name, or a name that maps cannot show. Needs CAP_CHECKPOINT_RESTORE. */
        char range[64];
        snprintf(range, sizeof(range), "map_files/%" PRIx64 "-%" PRIx64, c->start, c->end);
        int fd = openat(p->dir, range, O_PATH | O_CLOEXEC);
        if (fd >= 0)
            result = reopen(fd);
        else if (c->deleted)
            result = -errno;
    }
    return result;
}

static bool read_at(int fd, void *buf, size_t size, off_t at)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = pread(fd, (char *)buf + done, size - done, at + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static enum statsfile_verdict check_header(const struct remap_stats *s, off_t file_size,
                                           char why[STATSFILE_WHY])
{
    if (memcmp(s->magic, REMAP_STATS_MAGIC, sizeof(s->magic)) != 0) {
        snprintf(why, STATSFILE_WHY,
                 "it does not begin like a statistics file of libremap" RESTART);
        return STATSFILE_ALIEN;
    }
    if (s->version_major != REMAP_STATS_VERSION_MAJOR) {
        snprintf(why, STATSFILE_WHY,
                 "it has layout version %" PRIu32 ".%" PRIu32 ", this remapstat knows %u: use the "
                 "remapstat of that library",
                 s->version_major, s->version_minor, REMAP_STATS_VERSION_MAJOR);
        return STATSFILE_DAMAGED;
    }
    if (s->size < REMAP_STATS_SIZE_1_0 || s->size > SIZE_LIMIT || file_size < (off_t)s->size) {
        snprintf(why, STATSFILE_WHY,
                 "its size is wrong: %" PRIu32 " bytes stated, %lld there" RESTART, s->size,
                 (long long)file_size);
        return STATSFILE_DAMAGED;
    }
    if (s->ready != 1) {
        snprintf(why, STATSFILE_WHY, "it is not written in full yet");
        return STATSFILE_STARTING;
    }
    return STATSFILE_GOOD;
}

enum statsfile_verdict statsfile_load(int fd, struct remap_stats *out, char why[STATSFILE_WHY])
{
    const size_t header = offsetof(struct remap_stats, identity);
    enum statsfile_verdict verdict;
    struct stat st = {0};

    if (fstat(fd, &st) != 0 || st.st_size < (off_t)header || st.st_size > SIZE_LIMIT ||
        !read_at(fd, out, header, 0)) {
        snprintf(why, STATSFILE_WHY,
                 "its size, %lld bytes, is not that of a statistics file" RESTART,
                 (long long)st.st_size);
        return STATSFILE_ALIEN;
    }
    /* The header on its own first: the identity may be read only after `ready` was seen. */
    verdict = check_header(out, st.st_size, why);
    if (verdict != STATSFILE_GOOD)
        return verdict;
    /* What a file of an earlier minor version lacks counts as zero. */
    size_t size = out->size < sizeof(*out) ? out->size : sizeof(*out);
    memset(out, 0, sizeof(*out));
    if (!read_at(fd, out, size, 0)) {
        snprintf(why, STATSFILE_WHY, "it was cut short while it was read" RESTART);
        return STATSFILE_DAMAGED;
    }
    verdict = check_header(out, st.st_size, why);
    out->identity.comm[sizeof(out->identity.comm) - 1] = '\0';
    out->identity.kernel[sizeof(out->identity.kernel) - 1] = '\0';
    out->identity.library[sizeof(out->identity.library) - 1] = '\0';
    return verdict;
}

static bool right_owner(int fd, const struct procfs_status *status)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return false;
    for (int i = 0; i < 3; i++) {
        if (st.st_uid == status->uid[i])
            return true;
    }
    return st.st_uid == geteuid();
}

/* A file that another process left mapped or copied is not the one of this process. */
static enum statsfile_verdict whose(const struct remap_stats *out, const struct procfs_stat *stat,
                                    const struct procfs_status *status, char why[STATSFILE_WHY])
{
    if (out->identity.pid != (uint32_t)status->inner_pid) {
        snprintf(why, STATSFILE_WHY, "it is the file of process %" PRIu32, out->identity.pid);
        return STATSFILE_FOREIGN;
    }
    if (out->identity.start_time != stat->start_time) {
        snprintf(why, STATSFILE_WHY, "it is the file of an earlier process with the same id");
        return STATSFILE_FOREIGN;
    }
    return STATSFILE_GOOD;
}

/* A file that is being made has a head of zeroes for a moment, in a table that is not yet `ready`.
 */
static bool sites_are_sane(const struct remap_stats *s, const struct remap_stats_sites *head,
                           off_t file_size)
{
    const uint64_t at = s->identity.sites_offset;

    return at >= s->size && at % 8 == 0 && head->capacity >= 1 && head->capacity <= SITES_LIMIT &&
           head->entry_size >= sizeof(struct remap_stats_site) && head->entry_size <= SITE_LIMIT &&
           head->entry_size % 8 == 0 &&
           at + sizeof(*head) + (uint64_t)head->capacity * head->entry_size <= (uint64_t)file_size;
}

bool statsfile_load_sites(int fd, const struct remap_stats *s, struct statsfile_sites *out,
                          char why[STATSFILE_WHY])
{
    struct remap_stats_sites head = {0};
    struct stat st = {0};

    *out = (struct statsfile_sites){0};
    if (s->version_minor < 2 || !s->identity.sites_offset)
        return true;
    off_t at = (off_t)s->identity.sites_offset;
    if (fstat(fd, &st) != 0 || !read_at(fd, &head, sizeof(head), at) ||
        !sites_are_sane(s, &head, st.st_size)) {
        snprintf(why, STATSFILE_WHY, "its table of call sites is damaged" RESTART);
        return false;
    }
    out->there = true;
    out->depth = head.depth;
    out->dropped = head.dropped;
    out->list = calloc(head.capacity, sizeof(*out->list));
    if (!out->list)
        out_of_memory();
    at += (off_t)sizeof(head);
    for (uint32_t i = 0; i < head.capacity; i++, at += (off_t)head.entry_size) {
        struct remap_stats_site *site = &out->list[out->count];
        if (!read_at(fd, site, sizeof(*site), at)) {
            snprintf(why, STATSFILE_WHY, "it was cut short while it was read" RESTART);
            free(out->list);
            return false;
        }
        /* What a thread is just entering is not there yet. */
        if (site->ready == 1 && site->depth >= 1 && site->depth <= REMAP_STATS_FRAMES)
            out->count++;
    }
    return true;
}

enum statsfile_verdict statsfile_open_of_process(const struct procfs *p,
                                                 const struct procfs_stat *stat,
                                                 const struct procfs_status *status,
                                                 const struct statsfile_candidate *candidate,
                                                 struct remap_stats *out, char why[STATSFILE_WHY],
                                                 int *open)
{
    enum statsfile_verdict verdict;
    char name[DISPLAY_UNIT];
    int fd = open_candidate(p, candidate);

    *open = -1;
    if (fd < 0) {
        snprintf(why, STATSFILE_WHY, "it cannot be opened (%s)",
                 fd == -EINVAL ? "not a regular file" : display_errno(name, -fd));
        return STATSFILE_UNREADABLE;
    }
    if (!right_owner(fd, status)) {
        snprintf(why, STATSFILE_WHY, "it belongs to another user");
        verdict = STATSFILE_UNREADABLE;
    } else {
        verdict = statsfile_load(fd, out, why);
    }
    if (verdict == STATSFILE_GOOD)
        verdict = whose(out, stat, status, why);
    if (verdict == STATSFILE_GOOD)
        *open = fd;
    else
        close(fd);
    return verdict;
}

enum statsfile_verdict statsfile_of_process(const struct procfs *p, const struct procfs_stat *stat,
                                            const struct procfs_status *status,
                                            const struct statsfile_candidate *candidate,
                                            struct remap_stats *out, char why[STATSFILE_WHY])
{
    int fd;
    enum statsfile_verdict verdict =
        statsfile_open_of_process(p, stat, status, candidate, out, why, &fd);

    if (fd >= 0)
        close(fd);
    return verdict;
}
