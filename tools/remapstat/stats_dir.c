/* SPDX-License-Identifier: MIT */
#include "stats_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "remap_stats.h"

bool stats_dir_path(char *out, size_t size, const struct remap_options *o, unsigned n)
{
    if (o->stats_dir[0]) {
        snprintf(out, size, "%s", o->stats_dir);
        return n == 0;
    }
    if (o->xdg_runtime_dir[0] && n == 0) {
        snprintf(out, size, "%s/remap", o->xdg_runtime_dir);
        return true;
    }
    snprintf(out, size, "/dev/shm/remap-%u", (unsigned)geteuid());
    return n == (o->xdg_runtime_dir[0] ? 1 : 0);
}

int stats_dir_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 022)) {
        close(fd);
        return -EPERM;
    }
    return fd;
}

int stats_dir_try(const char *path)
{
    int dir = stats_dir_open(path), fd, error = 0;

    if (dir < 0)
        return dir;
    fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        error = errno == EOPNOTSUPP ? 0 : errno; /* a file system that cannot tell */
    else
        error = posix_fallocate(fd, 0, (off_t)sizeof(struct remap_stats));
    if (fd >= 0)
        close(fd);
    close(dir);
    return -error;
}
