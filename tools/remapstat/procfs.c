/* SPDX-License-Identifier: MIT */
#include "procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int procfs_open(struct procfs *p, pid_t pid)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    p->pid = pid;
    p->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->dir >= 0)
        return 0;
    return errno == ENOENT ? -ESRCH : -errno;
}

void procfs_close(struct procfs *p)
{
    close(p->dir);
    p->dir = -1;
}

static FILE *open_stream(const struct procfs *p, const char *name)
{
    int fd = openat(p->dir, name, O_RDONLY | O_CLOEXEC);
    FILE *f;

    if (fd < 0) {
        if (errno == ENOENT)
            errno = ESRCH;
        return NULL;
    }
    f = fdopen(fd, "r");
    if (!f)
        close(fd);
    return f;
}

int procfs_stat(const struct procfs *p, struct procfs_stat *out)
{
    char buf[2048];
    const char *open_paren, *close_paren;
    size_t n;
    FILE *f = open_stream(p, "stat");

    if (!f)
        return -errno;
    n = fread(buf, 1, sizeof(buf) - 1, f);
    fclose(f);
    buf[n] = '\0';
    if (!n)
        return -ESRCH;

    /* The name may itself hold spaces and parentheses: it ends at the last one. */
    open_paren = strchr(buf, '(');
    close_paren = strrchr(buf, ')');
    if (!open_paren || !close_paren || close_paren < open_paren)
        return -EPROTO;
    n = (size_t)(close_paren - open_paren - 1);
    if (n >= sizeof(out->comm))
        n = sizeof(out->comm) - 1;
    memcpy(out->comm, open_paren + 1, n);
    out->comm[n] = '\0';

    /* After the name: the state is field 3, the start time field 22. */
    if (sscanf(
            close_paren + 1,
            " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64,
            &out->state, &out->start_time) != 2)
        return -EPROTO;
    return 0;
}

static void status_line(struct procfs_status *out, const char *line)
{
    unsigned uid[3];

    if (sscanf(line, "Uid: %u %u %u", &uid[0], &uid[1], &uid[2]) == 3) {
        for (int i = 0; i < 3; i++)
            out->uid[i] = (uid_t)uid[i];
    } else if (strncmp(line, "NSpid:", 6) == 0) {
        /* One id for each pid namespace; the innermost, which getpid() tells, comes last. */
        const char *s = line + 6;
        char *end;
        for (;;) {
            long id = strtol(s, &end, 10);
            if (end == s)
                break;
            out->inner_pid = (pid_t)id;
            s = end;
        }
    } else {
        (void)(sscanf(line, "SigCgt: %" SCNx64, &out->caught) == 1 ||
               sscanf(line, "Seccomp: %d", &out->seccomp) == 1);
    }
}

int procfs_status(const struct procfs *p, struct procfs_status *out)
{
    FILE *f = open_stream(p, "status");
    char *line = NULL;
    size_t size = 0;
    bool any = false;

    if (!f)
        return -errno;
    *out = (struct procfs_status){.inner_pid = p->pid, .seccomp = -1};
    while (getline(&line, &size, f) >= 0) {
        any = true;
        status_line(out, line);
    }
    free(line);
    fclose(f);
    return any ? 0 : -ESRCH;
}

bool procfs_parse_map(struct procfs_map *m, char *line)
{
    int name = 0;
    size_t len = strlen(line);

    if (len && line[len - 1] == '\n')
        line[len - 1] = '\0';
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*x:%*x %" SCNu64 " %n", &m->start,
               &m->end, m->perms, &m->offset, &m->inode, &name) != 5)
        return false;
    m->name = line + name;
    return strlen(m->perms) == 4;
}

int procfs_maps(const struct procfs *p, procfs_visit *visit, void *arg)
{
    FILE *f = open_stream(p, "maps");
    char *line = NULL;
    size_t size = 0;
    int result = 0;

    if (!f)
        return -errno;
    errno = 0;
    while (getline(&line, &size, f) >= 0) {
        struct procfs_map m = {0};
        if (procfs_parse_map(&m, line))
            visit(&m, arg);
        else
            result = -EPROTO;
    }
    if (ferror(f))
        result = errno ? -errno : -EIO;
    free(line);
    fclose(f);
    return result;
}

int procfs_number(const char *path, uint64_t *out)
{
    FILE *f = fopen(path, "re");
    int n;

    if (!f)
        return -errno;
    n = fscanf(f, "%" SCNu64, out);
    fclose(f);
    return n == 1 ? 0 : -EPROTO;
}
