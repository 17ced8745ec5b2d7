/* SPDX-License-Identifier: MIT */
/*
 * The command of `remapstat run`: it should notice as little of us as possible.
 *
 * It stays in our process group, so that the terminal's job control goes on to work. Signals that
 * the terminal sends (SI_KERNEL) reach it without us; those that somebody sends to us by kill() are
 * passed on. Nothing is handled, everything is taken with sigwaitinfo(): dispositions that we
 * inherited, such as nohup's, are inherited further.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "display.h"
#include "run.h"

static const int forwarded[] = {SIGTERM, SIGINT,   SIGHUP,  SIGQUIT, SIGUSR1,
                                SIGUSR2, SIGWINCH, SIGCONT, SIGTSTP};

/* In the child. An errno goes through the pipe if the command cannot be executed. */
static void become(char **argv, const sigset_t *mask, const struct sigaction *sigchld, int pipe_end)
{
    int error;

    sigaction(SIGCHLD, sigchld, NULL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(argv[0], argv);
    error = errno;
    while (write(pipe_end, &error, sizeof(error)) < 0 && errno == EINTR)
        ;
    _exit(STATUS_NOT_FOUND);
}

/* 0 if the command runs (the pipe was closed by exec), else the errno of execvp(). */
static int exec_error(int pipe_end)
{
    int error = 0;
    ssize_t n;

    do
        n = read(pipe_end, &error, sizeof(error));
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(error) ? error : 0;
}

/*
 * The command was stopped from the keyboard: a shell that watches us takes the terminal back when
 * we stop too. Not so without a terminal: whoever stopped the command there knows its id, and may
 * wake it by that.
 */
static void stop_with(pid_t child)
{
    int tty = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
    bool foreground = tty >= 0 && tcgetpgrp(tty) == getpgrp() && getpgid(child) == getpgrp();

    if (tty >= 0)
        close(tty);
    if (foreground)
        raise(SIGSTOP);
}

/* True and *status when the child has ended. */
static bool reap(pid_t child, int *status)
{
    int wait_status;
    pid_t pid;

    while ((pid = waitpid(child, &wait_status, WNOHANG | WUNTRACED)) == child) {
        if (WIFSTOPPED(wait_status)) {
            if (WSTOPSIG(wait_status) == SIGTSTP)
                stop_with(child);
            continue;
        }
        *status = WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
        return true;
    }
    if (pid < 0 && errno != EINTR) {
        *status = STATUS_FAILURE;
        return true;
    }
    return false;
}

static int pass_signals_and_wait(pid_t child, const sigset_t *set)
{
    int status;

    while (!reap(child, &status)) {
        siginfo_t info;
        int sig = sigwaitinfo(set, &info);
        if (sig > 0 && sig != SIGCHLD && info.si_code != SI_KERNEL)
            kill(child, sig); /* not reaped yet: the id is still its own */
    }
    return status;
}

int run_command(char **argv, bool *started)
{
    struct sigaction by_default = {.sa_handler = SIG_DFL}, sigchld;
    sigset_t set, mask;
    char name[256];
    int ends[2], error, status;
    pid_t child;

    *started = false;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
        sigaddset(&set, forwarded[i]);
    sigprocmask(SIG_BLOCK, &set, &mask);
    /* Where SIGCHLD is ignored nothing can be waited for. */
    sigaction(SIGCHLD, &by_default, &sigchld);

    if (pipe2(ends, O_CLOEXEC) != 0 || (child = fork()) < 0) {
        say("a process cannot be started: %s", strerror(errno));
        return STATUS_FAILURE;
    }
    if (child == 0)
        become(argv, &mask, &sigchld, ends[1]);
    close(ends[1]);
    error = exec_error(ends[0]);
    close(ends[0]);
    status = pass_signals_and_wait(child, &set);
    if (error) {
        say("%s: %s", display_escape(name, sizeof(name), argv[0]), strerror(error));
        return error == ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_EXECUTE;
    }
    *started = true;
    return status;
}
