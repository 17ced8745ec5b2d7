/* SPDX-License-Identifier: MIT */
#include "filters.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel.h"

/* What a child finds out; `in` is what it has been given. */
typedef void question(void *out, const void *in);

/* Runs it in a child. Returns the signal that ended the child (then *out is as it was), or 0. */
static int ask(question *body, void *out, size_t size, const void *in)
{
    int ends[2], status = 0;
    char answer[sizeof(struct probe_result) + sizeof(struct filters)]; /* room for either */
    size_t have = 0;
    pid_t child;

    if (pipe2(ends, O_CLOEXEC) != 0)
        ends[0] = ends[1] = -1;
    fflush(NULL);
    child = ends[0] < 0 ? -1 : fork();
    if (child < 0) { /* no room for a process: then without its protection */
        body(out, in);
        return 0;
    }
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSYS, SIG_DFL);
        body(out, in);
        _exit(write(ends[1], out, size) == (ssize_t)size ? 0 : 1);
    }
    close(ends[1]);
    while (have < size) {
        ssize_t n = read(ends[0], answer + have, size - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    close(ends[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (have == size)
        memcpy(out, answer, size);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* The texts in the result are constants of this program: they are where they are in a child too. */
static void run_probe(void *out, const void *options)
{
    probe_run(out, options);
}

/*
 * Of flags that it does not know the kernel says EINVAL, before it looks at who asks (unless that
 * is for faults in kernel mode). Another answer comes from something in front of the kernel. ENOSYS
 * may be either's.
 */
static void ask_userfaultfd(void *out, const void *unused)
{
    struct filters *f = out;
    long ret = k_userfaultfd(K_UFFD_USER_MODE_ONLY | 1 << 30);

    (void)unused;
    f->forbids = ret < 0 && ret != -EINVAL && ret != -ENOSYS ? (int)-ret : 0;
}

static void add_filter(void *out, const void *unused)
{
    struct filters *f = out;
    void *library = dlopen("libseccomp.so.2", RTLD_NOW);
    __typeof__(&seccomp_init) init;
    __typeof__(&seccomp_load) load;
    __typeof__(&seccomp_version) version;
    __typeof__(&seccomp_api_get) api;

    (void)unused;
    if (!library)
        return;
    *(void **)&init = dlsym(library, "seccomp_init");
    *(void **)&load = dlsym(library, "seccomp_load");
    *(void **)&version = dlsym(library, "seccomp_version");
    *(void **)&api = dlsym(library, "seccomp_api_get");
    if (!init || !load)
        return;
    if (version) {
        const struct scmp_version *v = version();
        f->version[0] = v->major;
        f->version[1] = v->minor;
        f->version[2] = v->micro;
    }
    f->api = api ? api() : 0;

    scmp_filter_ctx filter = init(SCMP_ACT_ALLOW);
    int ret = filter ? load(filter) : -ENOMEM;
    f->may_add = ret == 0;
    f->add_error = ret == -ECANCELED ? errno : -ret;
}

void filters_probe(struct filters *f, struct probe_result *result, const struct remap_options *o)
{
    *f = (struct filters){0};
    *result = (struct probe_result){.tier_why = ""};
    f->killed_by = ask(run_probe, result, sizeof(*result), o);
    f->kills = ask(ask_userfaultfd, f, sizeof(*f), NULL) != 0;
    if (ask(add_filter, f, sizeof(*f), NULL) != 0)
        f->add_error = EPERM;
    if (f->killed_by) {
        result->tier_why = f->kills ? "a seccomp filter kills on userfaultfd"
                                    : "a seccomp filter kills on what the probe does";
        struct utsname name;
        if (uname(&name) == 0)
            snprintf(result->kernel, sizeof(result->kernel), "%.64s", name.release);
    }
}
