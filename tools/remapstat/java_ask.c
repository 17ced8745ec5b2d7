/* SPDX-License-Identifier: MIT */
#include "java_ask.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "display.h"
#include "java_answer.h"

/* jcmd itself waits for a JVM that does not answer, for about as long. */
#define PATIENCE_MS 10000
/* Lines that matter are much shorter. */
#define LINE_SIZE 1024

typedef void take_line(struct java_answer *a, const char *line);

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Until `fd` has something, or has been closed. False if it is too late. */
static bool wait_for(int fd, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    for (;;) {
        int64_t left = deadline - now_ms();
        int n = left > 0 ? poll(&p, 1, (int)left) : 0; /* one that never stops talking, too */
        if (n >= 0 || errno != EINTR)
            return n > 0;
    }
}

/* jcmd, with its output in the pipe *out; in a group of its own, so that it can be ended with what
 * it may have started. Its process id, or a negative errno. */
static pid_t start(pid_t pid, const char *command, const char *argument, int *out)
{
    char number[DISPLAY_UNIT], word[64];
    char name[] = "jcmd";
    char detail[32];
    char *argv[] = {name, number, word, argument ? detail : NULL, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t child = -1;
    int ends[2], error;

    snprintf(number, sizeof(number), "%d", (int)pid);
    snprintf(word, sizeof(word), "%s", command);
    snprintf(detail, sizeof(detail), "%s", argument ? argument : "");
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    error = posix_spawn_file_actions_init(&actions);
    if (error == 0) {
        error = posix_spawnattr_init(&attributes);
        if (error == 0) {
            posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
            posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
            posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
            posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
            posix_spawnattr_setpgroup(&attributes, 0);
            error = posix_spawnp(&child, name, &actions, &attributes, argv, environ);
            posix_spawnattr_destroy(&attributes);
        }
        posix_spawn_file_actions_destroy(&actions);
    }
    close(ends[1]);
    if (error) {
        close(ends[0]);
        return -error;
    }
    *out = ends[0];
    return child;
}

/* Hands each line to `take`, and keeps the first one that is not the process id. True at the end.
 */
static bool read_lines(int fd, int64_t deadline, take_line *take, struct java_answer *a,
                       char first[LINE_SIZE])
{
    char buf[16384], line[LINE_SIZE];
    size_t used = 0;
    bool heading = true;

    while (wait_for(fd, deadline)) {
        ssize_t n = read(fd, buf, sizeof(buf));
        if (n <= 0)
            return true;
        for (ssize_t i = 0; i < n; i++) {
            if (buf[i] != '\n') {
                if (buf[i] && used < sizeof(line) - 1)
                    line[used++] = buf[i];
                continue;
            }
            line[used] = '\0';
            used = 0;
            if (heading && line[strspn(line, "0123456789")] != ':') {
                memcpy(first, line, sizeof(line));
                heading = false;
            }
            take(a, line);
        }
    }
    return false;
}

/* Its status once it has ended, or -1 after it had to be ended. */
static int finish(pid_t child, bool patient, int64_t deadline)
{
    int fd = (int)syscall(SYS_pidfd_open, child, 0), status = 0;

    /* Before Linux 5.3 there is no such descriptor; a jcmd that has closed its output ends. */
    if (fd >= 0) {
        patient = patient && wait_for(fd, deadline);
        close(fd);
    }
    if (!patient)
        kill(-child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return patient ? status : -1;
}

/* One command. False with the reason in `problem`. */
static bool command(pid_t pid, const char *const words[2], take_line *take, struct java_answer *a,
                    char *problem, size_t size)
{
    int64_t deadline = now_ms() + PATIENCE_MS;
    char first[LINE_SIZE] = "", name[DISPLAY_UNIT];
    int out = -1, status;
    pid_t child;
    bool whole;

    child = start(pid, words[0], words[1], &out);
    if (child < 0) {
        snprintf(problem, size, "jcmd cannot be run (%s); it comes with a JDK",
                 display_errno(name, -child));
        return false;
    }
    whole = read_lines(out, deadline, take, a, first);
    close(out);
    status = finish(child, whole, deadline);
    if (status == 0)
        return true;
    if (status == -1) {
        snprintf(problem, size, "the JVM did not answer jcmd within %d seconds",
                 PATIENCE_MS / 1000);
    } else if (first[0]) {
        char escaped[200];
        snprintf(problem, size, "jcmd: %s", display_escape(escaped, sizeof(escaped), first));
    } else {
        snprintf(problem, size, "jcmd failed and did not say why");
    }
    return false;
}

enum java_source java_ask(pid_t pid, uint64_t caught, struct spans *spans, char *problem,
                          size_t size)
{
    static const char *const native[2] = {"VM.native_memory", "detail"}, *const info[2] = {
                                                                             "VM.info"};
    struct java_answer a = {.spans = spans};

    /* jcmd begins with a SIGQUIT. One that starts up, or runs with -Xrs, would die of it. */
    if (!(caught & UINT64_C(1) << (SIGQUIT - 1))) {
        snprintf(problem, size, "it does not handle SIGQUIT (it is just starting, or has -Xrs)");
        return JAVA_LAYOUT;
    }
    if (!command(pid, native, java_answer_native_memory, &a, problem, size))
        return JAVA_LAYOUT;
    if (spans->count)
        return JAVA_NMT;
    /* Without -XX:NativeMemoryTracking=detail. */
    if (!command(pid, info, java_answer_info, &a, problem, size))
        return JAVA_LAYOUT;
    if (spans->count)
        return JAVA_INFO;
    snprintf(problem, size, "the JVM told no address ranges");
    return JAVA_LAYOUT;
}
