/* SPDX-License-Identifier: MIT */
/*
 * The statistics channel: counters against ground truth, and the rules of the file: where it is
 * made and where not, what it is replaced for, who holds its lock, when it goes. The layout is
 * pinned by the unit tests.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

static char dir[300];

/* A mover with its statistics in `where`; what it says on stderr does not matter here. */
static struct peer mover(const char *where, const char *more)
{
    char env[900];
    snprintf(env, sizeof(env), "REMAP_LOG=error REMAP_STATS_DIR=%s %s", where, more);
    return peer_start(env, "mover", NULL);
}

static long ask(struct peer *peer, const char *command)
{
    char answer[64];
    peer_ask(peer, command, answer, sizeof(answer));
    return strtol(answer, NULL, 10);
}

static void file_name(char *out, size_t size, const char *where, pid_t pid)
{
    snprintf(out, size, "%s/%d", where, pid);
}

static bool exists(const char *where, pid_t pid)
{
    char path[400];
    struct stat st;
    file_name(path, sizeof(path), where, pid);
    return lstat(path, &st) == 0;
}

static struct remap_stats read_stats(const char *where, pid_t pid)
{
    char path[400];
    struct remap_stats s;
    file_name(path, sizeof(path), where, pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    CHECK_OK(fd);
    CHECK_EQ(read(fd, &s, sizeof(s)), sizeof(s));
    close(fd);
    CHECK(memcmp(s.magic, REMAP_STATS_MAGIC, 8) == 0);
    CHECK_EQ(s.version_major, REMAP_STATS_VERSION_MAJOR);
    CHECK_EQ(s.size, sizeof(s));
    CHECK_EQ(s.ready, 1);
    return s;
}

static size_t files_in(const char *where)
{
    size_t n = 0;
    DIR *d = opendir(where);
    CHECK(d != NULL);
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    }
    closedir(d);
    return n;
}

/* Whether somebody holds the lock of a file. */
static bool locked(const char *where, pid_t pid)
{
    char path[400];
    file_name(path, sizeof(path), where, pid);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    CHECK_OK(fd);
    bool held = flock(fd, LOCK_EX | LOCK_NB) != 0;
    CHECK(!held || errno == EWOULDBLOCK);
    close(fd);
    return held;
}

static void end_and_clean(struct peer *peer)
{
    CHECK_EQ(peer_end(peer), 0);
    CHECK_OK(rmdir(dir));
}

/* ---- counters ---- */

static uint64_t sum(const uint64_t *of, size_t count)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += of[i];
    }
    return total;
}

static void ground_truth(void)
{
    need_relocation();
    temp_dir(dir, sizeof(dir));
    struct peer peer = mover(dir, "");
    CHECK_EQ(ask(&peer, "move 25"), 25);
    ask(&peer, "shared 7");
    ask(&peer, "fail 5");
    ask(&peer, "place 3");
    ask(&peer, "overlap 2"); /* calls that could not move are handed over with one that could */
    struct remap_stats s = read_stats(dir, peer.pid);
    const struct remap_stats_counters *c = &s.counters;
    CHECK_EQ(c->calls, 25 + 7 + 5 + 3 + 2);
    CHECK_EQ(sum(c->outcomes, REMAP_STATS_OUTCOMES), c->calls);
    CHECK_EQ(sum(c->reasons, REMAP_STATS_REASONS), c->calls);
    CHECK_EQ(c->outcomes[REMAP_OUTCOME_UFFD] + c->outcomes[REMAP_OUTCOME_NATIVE] +
                 c->outcomes[REMAP_OUTCOME_COPY],
             25);
    CHECK_EQ(c->outcomes[REMAP_OUTCOME_PASSED], 7);
    CHECK_EQ(c->reasons[REMAP_REASON_NOT_ANON], 7);
    CHECK_EQ(c->outcomes[REMAP_OUTCOME_FAILED], 5 + 2);
    CHECK_EQ(c->reasons[REMAP_REASON_KERNEL], 5 + 2);
    CHECK_GE(c->call_errnos[EINVAL], 2); /* of those that could not move the errno is not kept */
    CHECK_EQ(sum(c->call_errnos, REMAP_STATS_ERRNOS), c->call_errnos[EINVAL]);
    CHECK_EQ(c->outcomes[REMAP_OUTCOME_IN_PLACE], 3);
    CHECK_EQ(c->moves, 25 + 7);
    CHECK_EQ(c->relocated, 25);
    CHECK_EQ(sum(c->tier_moves, REMAP_STATS_TIERS), 25 + 7);
    CHECK_EQ(sum(c->tier_bytes, REMAP_STATS_TIERS), (25 + 7) * 4 * PAGE);
    CHECK_EQ(c->tier_bytes[s.identity.tier], 25 * 4 * PAGE);
    CHECK_EQ(c->merged_left, 24);
    CHECK_EQ(c->merged_right, 0);
    CHECK_EQ(c->saved, 24);
    CHECK_EQ(sum(c->histogram, REMAP_STATS_BUCKETS), 25);
    if (s.identity.tier == REMAP_TIER_UFFD) {
        CHECK_EQ(c->pages_moved, 25 * 4);
        CHECK(c->tier_ns[REMAP_TIER_UFFD] > 0);
    }
    CHECK_EQ(c->pages_copied, s.identity.tier == REMAP_TIER_COPY ? 25 * 4 : 0);
    CHECK_EQ(sum(c->steps, REMAP_STATS_STEPS), 0);
    CHECK_EQ(c->rescued, 0);
    end_and_clean(&peer);
}

static void identity(void)
{
    temp_dir(dir, sizeof(dir));
    struct peer peer = mover(dir, "REMAP_MIN_BYTES=4K REMAP_MAX_BYTES=3M REMAP_RUN_ID=4711");
    ask(&peer, "move");
    struct remap_stats s = read_stats(dir, peer.pid);
    const struct remap_stats_identity *id = &s.identity;
    CHECK_EQ(id->pid, peer.pid);
    CHECK_EQ(id->uid, geteuid());
    CHECK(strcmp(id->comm, "mover") == 0);
    CHECK_EQ(id->policy, 2);
    CHECK_EQ(id->min_bytes, 4 * KIB);
    CHECK_EQ(id->max_bytes, 3 * MIB);
    CHECK_EQ(id->run_id, 4711);
    CHECK(id->library[0] != '\0' && id->kernel[0] != '\0');
    char path[64];
    char text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", peer.pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text) - 1);
    CHECK(n > 0);
    close(fd);
    text[n] = '\0';
    char *at = strrchr(text, ')') + 2; /* field 3 */
    for (int field = 3; field < 22; field++) {
        at = strchr(at, ' ') + 1;
    }
    CHECK_EQ(id->start_time, strtoull(at, NULL, 10));
    end_and_clean(&peer);
}

/* ---- the life of the file ---- */

static void lifetime(void)
{
    char path[400];
    struct stat st;
    temp_dir(dir, sizeof(dir));
    struct peer peer = mover(dir, "");
    ask(&peer, "nothing");
    ask(&peer, "fail 2");
    CHECK_EQ(files_in(dir), 0); /* nothing was moved yet */
    ask(&peer, "move");
    CHECK_EQ(files_in(dir), 1);
    file_name(path, sizeof(path), dir, peer.pid);
    CHECK_OK(lstat(path, &st));
    CHECK(S_ISREG(st.st_mode));
    CHECK_EQ(st.st_mode & 07777, 0600);
    CHECK_EQ(st.st_size, sizeof(struct remap_stats));
    CHECK(locked(dir, peer.pid));
    ask(&peer, "close");
    CHECK(locked(dir, peer.pid));
    ask(&peer, "move");
    CHECK(locked(dir, peer.pid));
    CHECK_EQ(files_in(dir), 1);
    end_and_clean(&peer);
}

/* A directory that is not there yet is made, 0700. */
static void makes_directory(void)
{
    char below[320];
    struct stat st;
    temp_dir(dir, sizeof(dir));
    snprintf(below, sizeof(below), "%s/below", dir);
    struct peer peer = mover(below, "");
    ask(&peer, "move");
    CHECK(exists(below, peer.pid));
    CHECK_OK(lstat(below, &st));
    CHECK_EQ(st.st_mode & 07777, 0700);
    CHECK_EQ(peer_end(&peer), 0);
    CHECK_OK(rmdir(below));
    CHECK_OK(rmdir(dir));
}

static void killed(void)
{
    temp_dir(dir, sizeof(dir));
    struct peer peer = mover(dir, "");
    ask(&peer, "move");
    pid_t gone = peer.pid;
    CHECK_OK(kill(gone, SIGKILL));
    CHECK(WIFSIGNALED(peer_end(&peer)));
    CHECK(exists(dir, gone));
    CHECK(!locked(dir, gone));
    /* The next one that makes a file there takes the dead one's away. */
    peer = mover(dir, "");
    ask(&peer, "move");
    CHECK(!exists(dir, gone));
    CHECK(exists(dir, peer.pid));
    end_and_clean(&peer);
}

static void kept(void)
{
    temp_dir(dir, sizeof(dir));
    struct peer peer = mover(dir, "REMAP_STATS=keep");
    ask(&peer, "move 3");
    CHECK_EQ(peer_end(&peer), 0);
    struct remap_stats s = read_stats(dir, peer.pid);
    CHECK_EQ(s.counters.calls, 3);
    char path[400];
    file_name(path, sizeof(path), dir, peer.pid);
    CHECK_OK(unlink(path));
    CHECK_OK(rmdir(dir));
}

static void switched_off(void)
{
    temp_dir(dir, sizeof(dir));
    struct peer peer = mover(dir, "REMAP_STATS=off");
    CHECK_EQ(ask(&peer, "move 3"), can_relocate() ? 3 : 0);
    CHECK_EQ(files_in(dir), 0);
    end_and_clean(&peer);
}

static void forked(void)
{
    temp_dir(dir, sizeof(dir));
    struct peer peer = mover(dir, "");
    ask(&peer, "move 3");
    pid_t child = (pid_t)ask(&peer, "fork");
    CHECK(child != peer.pid);
    CHECK(!exists(dir, child));
    ask(&peer, "move 2"); /* the child obeys */
    CHECK_EQ(read_stats(dir, child).counters.calls, 2);
    CHECK_EQ(read_stats(dir, child).identity.pid, child);
    CHECK_EQ(read_stats(dir, peer.pid).counters.calls, 3);
    CHECK(locked(dir, child));
    CHECK(locked(dir, peer.pid));
    end_and_clean(&peer);
}

/* The child holds no lock on its parent's file. */
static void parent_killed(void)
{
    temp_dir(dir, sizeof(dir));
    struct peer peer = mover(dir, "");
    ask(&peer, "move 3");
    pid_t parent = peer.pid;
    pid_t child = (pid_t)ask(&peer, "fork");
    CHECK_OK(kill(parent, SIGKILL));
    CHECK_EQ(waitpid(parent, NULL, 0), parent);
    CHECK(exists(dir, parent));
    CHECK(!locked(dir, parent));
    ask(&peer, "move");
    CHECK(exists(dir, child));
    CHECK(!exists(dir, parent));
    ask(&peer, "close");
    peer_say(&peer, "quit");
    char c;
    while (read(peer.from, &c, 1) == 1) { /* until it has ended */
    }
    CHECK_EQ(files_in(dir), 0);
    CHECK_OK(rmdir(dir));
}

static void executed(void)
{
    temp_dir(dir, sizeof(dir));
    struct peer peer = mover(dir, "");
    ask(&peer, "move 3");
    peer_say(&peer, "exec");
    CHECK_EQ(ask(&peer, "pid"), peer.pid);
    CHECK(!exists(dir, peer.pid) || !locked(dir, peer.pid));
    ask(&peer, "move 2");
    CHECK_EQ(files_in(dir), 1);
    CHECK_EQ(read_stats(dir, peer.pid).counters.calls, 2);
    CHECK(locked(dir, peer.pid));
    end_and_clean(&peer);
}

/* ---- places that are not to be trusted: no file, and the moves go on as ever ---- */

static void refused_in(const char *where)
{
    struct peer peer = mover(where, "");
    CHECK_EQ(ask(&peer, "move 4"), can_relocate() ? 4 : 0);
    CHECK(!exists(where, peer.pid));
    CHECK_EQ(peer_end(&peer), 0);
}

static void symlinked_directory(void)
{
    char real[320];
    char link[320];
    temp_dir(dir, sizeof(dir));
    snprintf(real, sizeof(real), "%s/real", dir);
    snprintf(link, sizeof(link), "%s/link", dir);
    CHECK_OK(mkdir(real, 0700));
    CHECK_OK(symlink("real", link));
    refused_in(link);
    CHECK_OK(unlink(link));
    CHECK_OK(rmdir(real));
    CHECK_OK(rmdir(dir));
}

static void open_directory(void)
{
    temp_dir(dir, sizeof(dir));
    CHECK_OK(chmod(dir, 0777));
    refused_in(dir);
    CHECK_OK(rmdir(dir));
}

static void foreign_directory(void)
{
    if (geteuid() != 0) {
        test_skip("only root can give a directory away");
    }
    temp_dir(dir, sizeof(dir));
    CHECK_OK(chown(dir, 65534, 65534));
    refused_in(dir);
    CHECK_OK(rmdir(dir));
}

static void missing_directory(void)
{
    refused_in("/nowhere/at/all");
    refused_in("/dev/null");
}

/* What stands in the way under the file's own name is neither followed nor written. */
static void obstacle(void (*make)(const char *path))
{
    char path[400];
    char target[320];
    struct stat st;
    temp_dir(dir, sizeof(dir));
    snprintf(target, sizeof(target), "%s/target", dir);
    int fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK_EQ(write(fd, "precious", 8), 8);
    close(fd);
    struct peer peer = mover(dir, "");
    file_name(path, sizeof(path), dir, peer.pid);
    make(path);
    CHECK_EQ(ask(&peer, "move 4"), can_relocate() ? 4 : 0);
    CHECK_OK(lstat(target, &st));
    CHECK_EQ(st.st_size, 8);
    CHECK_EQ(peer_end(&peer), 0);
    unlink(path);
    CHECK_OK(unlink(target));
    CHECK_OK(rmdir(dir));
}

static void make_symlink(const char *path)
{
    CHECK_OK(symlink("target", path));
}

static void make_fifo(const char *path)
{
    CHECK_OK(mkfifo(path, 0600));
}

static void make_directory(const char *path)
{
    CHECK_OK(mkdir(path, 0700));
    CHECK_OK(rmdir(path));
    CHECK_OK(symlink(path, path)); /* a loop */
}

static void make_foreign(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    CHECK_OK(fd);
    CHECK_OK(fchown(fd, 65534, 65534));
    close(fd);
}

static void symlinked_file(void)
{
    obstacle(make_symlink);
    obstacle(make_directory);
}

static void fifo_in_the_way(void)
{
    obstacle(make_fifo);
}

static void foreign_file(void)
{
    if (geteuid() != 0) {
        test_skip("only root can give a file away");
    }
    obstacle(make_foreign);
}

/* A tmpfs without room: no file, and no SIGBUS. */
static void full_tmpfs(void)
{
    char path[320];
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        test_skip("no mount namespace of our own: %s", strerror(errno));
    }
    temp_dir(dir, sizeof(dir));
    CHECK_OK(mount("none", dir, "tmpfs", 0, "size=64k,mode=0700"));
    snprintf(path, sizeof(path), "%s/filler", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK_OK(fd);
    char page[4096] = {0};
    while (write(fd, page, sizeof(page)) > 0) {
    }
    CHECK_EQ(errno, ENOSPC);
    refused_in(dir);
    CHECK_EQ(files_in(dir), 1);        /* the filler: no half-made file */
    CHECK_OK(ftruncate(fd, 4 * 4096)); /* room again */
    struct peer peer = mover(dir, "");
    ask(&peer, "move");
    CHECK(exists(dir, peer.pid));
    CHECK_EQ(ftruncate(fd, 0), 0);
    CHECK_EQ(peer_end(&peer), 0);
    close(fd);
    CHECK_OK(umount(dir));
    CHECK_OK(rmdir(dir));
}

/* Without REMAP_STATS_DIR the file is in $XDG_RUNTIME_DIR/remap. */
static void runtime_directory(void)
{
    char env[700];
    char below[320];
    temp_dir(dir, sizeof(dir));
    snprintf(env, sizeof(env), "REMAP_STATS_DIR= XDG_RUNTIME_DIR=%s", dir);
    snprintf(below, sizeof(below), "%s/remap", dir);
    struct peer peer = peer_start(env, "mover", NULL);
    ask(&peer, "move");
    CHECK(exists(below, peer.pid));
    CHECK_EQ(peer_end(&peer), 0);
    CHECK_OK(rmdir(below));
    CHECK_OK(rmdir(dir));
}

/* The options are read when the program starts, and the first move may come much later. */
static void overwritten_environment(void)
{
    char log[400];
    char more[500];
    struct stat st;
    temp_dir(dir, sizeof(dir));
    snprintf(log, sizeof(log), "%s/log", dir);
    snprintf(more, sizeof(more), "REMAP_LOG=debug REMAP_LOG_FILE=%s REMAP_MULTI=wrong", log);
    struct peer peer = mover(dir, more);
    ask(&peer, "title");
    ask(&peer, "move 1");
    CHECK(exists(dir, peer.pid));
    CHECK_EQ(peer_end(&peer), 0);
    CHECK_OK(stat(log, &st));
    char text[1024] = "";
    FILE *file = fopen(log, "re");
    CHECK(file != NULL);
    CHECK(fgets(text, sizeof(text), file) != NULL);
    fclose(file);
    CHECK(strstr(text, "REMAP_MULTI='wrong'") != NULL);
    CHECK_OK(unlink(log));
    CHECK_OK(rmdir(dir));
}

static const struct test_case cases[] = {
    {"ground_truth", ground_truth, NULL},
    {"identity", identity, NULL},
    {"lifetime", lifetime, NULL},
    {"makes_directory", makes_directory, NULL},
    {"killed", killed, NULL},
    {"kept", kept, NULL},
    {"switched_off", switched_off, NULL},
    {"forked", forked, NULL},
    {"parent_killed", parent_killed, NULL},
    {"executed", executed, NULL},
    {"symlinked_directory", symlinked_directory, NULL},
    {"open_directory", open_directory, NULL},
    {"foreign_directory", foreign_directory, NULL},
    {"missing_directory", missing_directory, NULL},
    {"symlinked_file", symlinked_file, NULL},
    {"fifo_in_the_way", fifo_in_the_way, NULL},
    {"foreign_file", foreign_file, NULL},
    {"full_tmpfs", full_tmpfs, NULL},
    {"runtime_directory", runtime_directory, NULL},
    {"overwritten_environment", overwritten_environment, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
