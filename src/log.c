/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <unistd.h>

#include "kernel.h"

/*
 * Standard error is the program's: it may be a full pipe whose reader waits for our exit, a pipe
 * without a reader (SIGPIPE), a terminal that stops background writers (SIGTTOU). None of that may
 * happen because of a message; it is lost then.
 */
static void write_politely(int fd, const char *line, size_t length)
{
    const k_sigset pipe_or_tty = (k_sigset)1 << (SIGPIPE - 1) | (k_sigset)1 << (SIGTTOU - 1);
    const k_sigset only_pipe = (k_sigset)1 << (SIGPIPE - 1);
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    struct timespec now = {0, 0};
    k_sigset saved;
    k_sigset pending = 0;
    if (k_ppoll(&ready, 1, &now) != 1 || ready.revents != POLLOUT)
        return;
    if (k_failed(k_sigprocmask(SIG_BLOCK, &pipe_or_tty, &saved)))
        return;
    k_sigpending(&pending);
    if (k_write(fd, line, length) == -EPIPE && !(pending & only_pipe))
        k_sigtimedwait(&only_pipe, &now);
    k_sigprocmask(SIG_SETMASK, &saved, NULL);
}

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
    write_politely((int)fd, line, t.len);
    if (*o->log_file != '\0')
        k_close((int)fd);
}
