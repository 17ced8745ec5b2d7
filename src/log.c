/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <unistd.h>

#include "kernel.h"

bool log_wanted(const struct remap_options *o, enum remap_log_level level)
{
    return level <= o->log;
}

void log_write(const struct remap_options *o, enum remap_log_level level, const char *message)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    char line[640];
    struct text t;
    if (!log_wanted(o, level))
        return;
    text_start(&t, line, sizeof(line) - 1);
    text_add(&t, "remap[");
    text_add_number(&t, (uint64_t)k_getpid());
    text_add(&t, "]: ");
    text_add(&t, names[level]);
    text_add(&t, ": ");
    text_add(&t, message);
    line[t.len++] = '\n';
    long fd = STDERR_FILENO;
    if (*o->log_file != '\0')
        fd = k_openat(AT_FDCWD, o->log_file,
                      O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (k_failed(fd))
        return; /* nowhere to say it: the program goes on */
    k_write((int)fd, line, t.len);
    if (*o->log_file != '\0')
        k_close((int)fd);
}
