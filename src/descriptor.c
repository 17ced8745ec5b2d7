/* SPDX-License-Identifier: MIT */
#include "descriptor.h"

#include <sys/resource.h>

#include "kernel.h"

long descriptor_first(void)
{
    struct rlimit limit = {.rlim_cur = 256, .rlim_max = 256};
    k_prlimit(RLIMIT_NOFILE, NULL, &limit);
    if (limit.rlim_cur >= 1024)
        return 1000;
    return limit.rlim_cur > 32 ? (long)limit.rlim_cur - 16 : 0;
}

static bool identify(int fd, struct descriptor *d)
{
    struct stat st;
    if (k_failed(k_fstat(fd, &st)))
        return false;
    *d = (struct descriptor){.fd = fd, .device = st.st_dev, .inode = st.st_ino};
    return true;
}

long descriptor_adopt(struct descriptor *d, int fd)
{
    struct descriptor low = DESCRIPTOR_NONE;
    *d = DESCRIPTOR_NONE;
    if (!identify(fd, &low))
        return -EBADF;
    long high = k_fcntl(fd, F_DUPFD_CLOEXEC, descriptor_first());
    descriptor_close(&low); /* if another thread has not closed and reused it meanwhile */
    if (k_failed(high))
        return high;
    if (!identify((int)high, d)) {
        k_close((int)high);
        *d = DESCRIPTOR_NONE;
        return -EBADF;
    }
    return 0;
}

bool descriptor_is_ours(const struct descriptor *d)
{
    struct descriptor now;
    return d->fd >= 0 && identify(d->fd, &now) && now.device == d->device && now.inode == d->inode;
}

void descriptor_close(struct descriptor *d)
{
    if (descriptor_is_ours(d))
        k_close(d->fd);
    *d = DESCRIPTOR_NONE;
}

long descriptor_open_proc(struct descriptor *d, const char *path)
{
    *d = DESCRIPTOR_NONE;
    long fd = k_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    return k_failed(fd) ? fd : descriptor_adopt(d, (int)fd);
}

long descriptor_open_uffd(struct descriptor *d, bool user_mode_only, uint64_t features)
{
    *d = DESCRIPTOR_NONE;
    long fd = k_userfaultfd(O_CLOEXEC | O_NONBLOCK | (user_mode_only ? K_UFFD_USER_MODE_ONLY : 0));
    if (k_failed(fd))
        return fd;
    struct uffdio_api api = {.api = UFFD_API};
    long ret = k_ioctl((int)fd, UFFDIO_API, &api);
    if (!k_failed(ret) && (api.features & features) != features)
        ret = -EINVAL;
    if (k_failed(ret)) {
        k_close((int)fd);
        return ret;
    }
    return descriptor_adopt(d, (int)fd);
}
