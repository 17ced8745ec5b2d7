/* SPDX-License-Identifier: MIT */
/*
 * REMAP_CATCH=realloc: the calls inside libc arrive, merge and are counted; libc's code is as it
 * was but for the entry of its mremap(); and where that cannot be changed, nothing is, and the
 * statistics say why.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define CATCH "REMAP_CATCH=symbol,syscall,realloc"

typedef void *(*mremap_function)(void *, size_t, size_t, int, ...);

/* libc's own, as its realloc() calls it. */
static mremap_function libc_mremap(void)
{
    mremap_function found;
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    CHECK(libc != NULL);
    *(void **)&found = dlsym(libc, "mremap");
    CHECK(found != NULL);
    dlclose(libc);
    return found;
}

static const unsigned char *libc_code(void)
{
    return (const unsigned char *)(uintptr_t)libc_mremap();
}

/* The same bytes as the file has them. */
static void code_in_file(unsigned char *out, size_t size)
{
    struct map_line line;
    Dl_info info;
    CHECK(dladdr((void *)(uintptr_t)libc_mremap(), &info) != 0);
    CHECK(map_of(libc_code(), &line));
    /* The offset of the code in the file: from its program header. */
    const ElfW(Ehdr) *elf = info.dli_fbase;
    const ElfW(Phdr) *segment = (const ElfW(Phdr) *)((const char *)elf + elf->e_phoff);
    uintptr_t address = (uintptr_t)libc_code() - (uintptr_t)info.dli_fbase;
    while (segment->p_type != PT_LOAD || address < segment->p_vaddr ||
           address >= segment->p_vaddr + segment->p_filesz)
        segment++;
    int fd = open(info.dli_fname, O_RDONLY | O_CLOEXEC);
    CHECK_OK(fd);
    CHECK_EQ(pread(fd, out, size, (off_t)(address - segment->p_vaddr + segment->p_offset)), size);
    close(fd);
}

static bool is_redirected(void)
{
    unsigned char original[128];
    code_in_file(original, sizeof(original));
    return memcmp(original, libc_code(), sizeof(original)) != 0;
}

/* ---- buffers ---- */

enum { BUFFERS = 200, FIRST = 160 * 1024 };
struct buffer {
    unsigned char *at;
    size_t size;
    unsigned seed;
};

static void buffer_start(struct buffer *b, unsigned seed)
{
    b->size = FIRST;
    b->seed = seed;
    b->at = malloc(b->size);
    CHECK(b->at != NULL);
    fill(b->at, b->size, seed);
}

static void buffer_grow(struct buffer *b)
{
    size_t size = b->size + b->size / 4;
    unsigned char *at = realloc(b->at, size);
    CHECK(at != NULL);
    CHECK_HOLDS(at, b->size, b->seed);
    *b = (struct buffer){at, size, b->seed};
    fill(at, size, b->seed);
}

/* VMAs that begin where one of the same kind ends. */
static size_t splits(void)
{
    char text[512];
    unsigned long last = 0;
    size_t count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps != NULL);
    while (fgets(text, sizeof(text), maps)) {
        unsigned long start;
        unsigned long end;
        char perms[8];
        unsigned long inode;
        CHECK(sscanf(text, "%lx-%lx %7s %*x %*s %lu", &start, &end, perms, &inode) == 4);
        bool anonymous = inode == 0 && !strchr(text, '[') && strcmp(perms, "rw-p") == 0;
        count += anonymous && start == last;
        last = anonymous ? end : 0;
    }
    fclose(maps);
    return count;
}

static void grow_at_random(struct buffer *buffers, unsigned rounds)
{
    unsigned state = 1;
    for (unsigned i = 0; i < BUFFERS; i++)
        buffer_start(&buffers[i], i);
    for (unsigned i = 0; i < rounds * BUFFERS; i++) {
        state = state * 1103515245u + 12345u;
        buffer_grow(&buffers[(state >> 16) % BUFFERS]);
    }
    for (unsigned i = 0; i < BUFFERS; i++)
        CHECK_HOLDS(buffers[i].at, buffers[i].size, buffers[i].seed);
}

static void grown(void)
{
    static struct buffer buffers[BUFFERS];
    need_relocation();
    grow_at_random(buffers, 4);
    size_t apart = splits();
    struct remap_stats s = stats_now();
    CHECK_GE(s.ways[REMAP_WAY_REALLOC].calls, BUFFERS);
    CHECK_GE(s.counters.relocated, BUFFERS / 2);
    CHECK_EQ(s.ways[REMAP_WAY_SYMBOL].calls, 0);
    printf("splits: %zu, relocated %llu\n", apart, (unsigned long long)s.counters.relocated);
    CHECK_LE(apart, BUFFERS / 50);
    for (unsigned i = 0; i < BUFFERS; i++)
        free(buffers[i].at);
}

/* The same without: what this is for, and the proof that the count above can fail. */
static void not_asked(void)
{
    static struct buffer buffers[BUFFERS];
    grow_at_random(buffers, 4);
    CHECK_GE(splits(), BUFFERS / 4);
    CHECK(!is_redirected());
    struct remap_stats s = stats_now();
    CHECK_EQ(s.counters.calls, 0);
    CHECK_EQ(s.ways[REMAP_WAY_REALLOC].seen, 0);
    CHECK_EQ(s.ways[REMAP_WAY_REALLOC].why, REMAP_WHY_NOT_ASKED);
    CHECK_EQ(s.ways[REMAP_WAY_SYMBOL].seen, 1);
}

static void *grow_in_thread(void *argument)
{
    struct buffer *buffers = argument;
    for (unsigned i = 0; i < 20; i++)
        buffer_start(&buffers[i], i);
    for (unsigned i = 0; i < 100; i++)
        buffer_grow(&buffers[i * 7 % 20]);
    for (unsigned i = 0; i < 20; i++) {
        CHECK_HOLDS(buffers[i].at, buffers[i].size, buffers[i].seed);
        free(buffers[i].at);
    }
    return NULL;
}

static void threads(void)
{
    static struct buffer buffers[4][20];
    pthread_t ids[4];
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&ids[i], NULL, grow_in_thread, buffers[i]), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(ids[i], NULL), 0);
    CHECK_GE(stats_now().ways[REMAP_WAY_REALLOC].calls, 100);
}

/* ---- the function itself ---- */

static void answers(void)
{
    mremap_function function = libc_mremap();
    char *src = piece(4 * PAGE, 3);
    char *dst = island(8 * PAGE);
    CHECK_ERRNO(function(src, 4 * PAGE, 0, MREMAP_MAYMOVE), EINVAL);
    CHECK_ERRNO(function(src, 4 * PAGE, 8 * PAGE, 0), ENOMEM);
    CHECK_ERRNO(function(src, 4 * PAGE, 4 * PAGE, MOVE_TO, src + PAGE), EINVAL);
    CHECK_ERRNO(function(src, 4 * PAGE, 4 * PAGE, 64), EINVAL);
    CHECK_PTR(function(src, 4 * PAGE, 3 * PAGE, 0), src);
    CHECK_PTR(function(src, 3 * PAGE, 8 * PAGE, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, 3 * PAGE, 3);
    CHECK(holds_zero(dst + 3 * PAGE, 5 * PAGE));
    CHECK_EQ(mapped_in(src, 3 * PAGE), 0);
    CHECK_EQ(stats_now().ways[REMAP_WAY_REALLOC].calls, 6);
    /* The symbol is another way. */
    CHECK_PTR(mremap(dst, 8 * PAGE, 4 * PAGE, 0), dst);
    CHECK_EQ(stats_now().ways[REMAP_WAY_SYMBOL].calls, 1);
    CHECK_EQ(stats_now().counters.calls, 7);
}

/* Without `symbol` the program's own calls are not ours, although they go through the same entry.
 */
static void only_realloc(void)
{
    char *src = piece(4 * PAGE, 3);
    char *dst = island(4 * PAGE);
    CHECK_PTR(mremap(src, 4 * PAGE, 4 * PAGE, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, 4 * PAGE, 3);
    struct remap_stats s = stats_now();
    CHECK_EQ(s.counters.calls, 0);
    CHECK_EQ(s.ways[REMAP_WAY_SYMBOL].seen, 0);
    CHECK_EQ(s.ways[REMAP_WAY_SYSCALL].seen, 0);
    CHECK_EQ(s.ways[REMAP_WAY_REALLOC].seen, 1);
    CHECK_PTR(libc_mremap()(dst, 4 * PAGE, 4 * PAGE, MOVE_TO, src), src);
    CHECK_EQ(stats_now().counters.calls, 1);
}

static void policy_off(void)
{
    CHECK(!is_redirected());
}

/* ---- libc's code ---- */

/* Mappings of libc, and those that are writable and executable, of any file. */
static void count_code(size_t *libc, size_t *executable, size_t *writable)
{
    char text[512];
    FILE *maps = fopen("/proc/self/maps", "re");
    *libc = *executable = *writable = 0;
    CHECK(maps != NULL);
    while (fgets(text, sizeof(text), maps)) {
        char perms[8];
        CHECK(sscanf(text, "%*s %7s", perms) == 1);
        *libc += strstr(text, "/libc.so.6") || strstr(text, "/libc-2");
        *executable +=
            (strstr(text, "/libc.so.6") || strstr(text, "/libc-2")) && strchr(perms, 'x');
        *writable += strchr(perms, 'w') && strchr(perms, 'x') && !strstr(text, "libremap");
    }
    fclose(maps);
}

static void code_is_one_vma(void)
{
    size_t libc;
    size_t executable;
    size_t writable;
    struct map_line line;
    CHECK(is_redirected());
    count_code(&libc, &executable, &writable);
    CHECK_EQ(executable, 1);
    CHECK_EQ(writable, 0);
    CHECK(map_of(libc_code(), &line));
    CHECK(strcmp(line.perms, "r-xp") == 0);
    /* Nothing but the jump has changed: a landing of 4 bytes at most, and 16 of jump. */
    unsigned char original[256];
    code_in_file(original, sizeof(original));
    CHECK(memcmp(original + 20, libc_code() + 20, sizeof(original) - 20) == 0);
    /* As many as a program without us has. */
    char answer[64];
    struct peer bare = peer_start("LD_PRELOAD= REMAP_CATCH=", "mover", NULL);
    peer_ask(&bare, "nothing", answer, sizeof(answer));
    char path[64];
    char text[512];
    size_t count = 0;
    snprintf(path, sizeof(path), "/proc/%d/maps", bare.pid);
    FILE *maps = fopen(path, "re");
    CHECK(maps != NULL);
    while (fgets(text, sizeof(text), maps))
        count += strstr(text, "/libc.so.6") || strstr(text, "/libc-2");
    fclose(maps);
    CHECK_EQ(peer_end(&bare), 0);
    CHECK_EQ(libc, count);
}

/* The kernel refuses writes through /proc/self/mem, as some are set up to: here by a filter. */
static void mem_refused(void)
{
    if (!getenv("REALLOC_REFUSED")) {
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        CHECK(filter != NULL);
        CHECK_EQ(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(pwrite64), 0), 0);
        if (seccomp_load(filter) != 0)
            test_skip("no seccomp filter here: %s", strerror(errno));
        setenv("REALLOC_REFUSED", "1", 1);
        execl("/proc/self/exe", "realloc", test_name, (char *)NULL);
        test_fail(__FILE__, __LINE__, "exec");
    }
    char byte = 0;
    CHECK_ERRNO(pwrite(1, &byte, 1, 0), EPERM); /* the filter is there */
    code_is_one_vma();
    answers();
}

static void child_grows(void *unused)
{
    struct buffer b;
    (void)unused;
    CHECK(is_redirected());
    buffer_start(&b, 9);
    void *in_the_way = malloc(FIRST);
    for (int i = 0; i < 6; i++)
        buffer_grow(&b);
    free(in_the_way);
    CHECK_GE(stats_now().ways[REMAP_WAY_REALLOC].calls, 1);
}

static void forked(void)
{
    in_child(child_grows, NULL);
    child_grows(NULL);
}

/* Opened by a program itself and closed again: the jump must not lead to where nothing is. */
static void unloaded(void)
{
    char answer[64];
    char env[1024];
    snprintf(env, sizeof(env), "LD_PRELOAD= MOVER_LIBRARY=%s", getenv("LD_PRELOAD"));
    struct peer peer = peer_start(env, "mover", NULL);
    peer_ask(&peer, "load", answer, sizeof(answer));
    CHECK(strcmp(answer, "1") == 0);
    peer_ask(&peer, "grow 6", answer, sizeof(answer));
    CHECK(strcmp(answer, "0") == 0);
    CHECK_EQ(peer_end(&peer), 0);
}

/* ---- where it cannot be done ---- */

/* Executes this case again with the meddler's constructor before the shim's. */
static void with_meddler(const char *what)
{
    if (getenv("MEDDLE"))
        return;
    char both[2048];
    char exe[512];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 32);
    CHECK(n > 0);
    exe[n] = '\0';
    memcpy(strrchr(exe, '/') + 1, "libmeddler.so", 14);
    snprintf(both, sizeof(both), "%s:%s", getenv("LD_PRELOAD"), exe);
    setenv("LD_PRELOAD", both, 1);
    setenv("MEDDLE", what, 1);
    setenv("REMAP_LOG_FILE", "/dev/null", 1);
    execl("/proc/self/exe", "realloc", test_name, (char *)NULL);
    test_fail(__FILE__, __LINE__, "exec");
}

static void expect_refusal(enum remap_why why)
{
    struct buffer b;
    struct remap_stats s = stats_now();
    CHECK_EQ(s.ways[REMAP_WAY_REALLOC].seen, 0);
    CHECK_EQ(s.ways[REMAP_WAY_REALLOC].why, why);
    CHECK_EQ(s.ways[REMAP_WAY_SYMBOL].seen, 1);
    if (why == REMAP_WHY_CODE)
        return; /* the meddler left no mremap() that could be called */
    CHECK(!is_redirected());
    buffer_start(&b, 1);
    buffer_grow(&b);
    CHECK_EQ(stats_now().counters.calls, 0);
}

static void sealed(void)
{
    with_meddler("seal");
    if (strcmp(getenv("MEDDLE_RESULT"), "refused") == 0)
        test_skip("this kernel cannot seal mappings (mseal(2), Linux 6.10)");
    expect_refusal(REMAP_WHY_SEALED);
}

static void other_threads(void)
{
    with_meddler("thread");
    expect_refusal(REMAP_WHY_THREADS);
}

static void other_hook(void)
{
    with_meddler("jump");
    expect_refusal(REMAP_WHY_CODE);
    unsigned char original[32];
    code_in_file(original, sizeof(original));
    CHECK(memcmp(original, libc_code(), 4) != 0); /* theirs is still there */
    CHECK(memcmp(original + 8, libc_code() + 8, sizeof(original) - 8) == 0);
}

static void breakpoint_inside(void)
{
    with_meddler("trap");
    expect_refusal(REMAP_WHY_CODE);
}

static void other_code(void)
{
    with_meddler("code");
    expect_refusal(REMAP_WHY_CODE);
    CHECK_EQ(libc_code()[0], 0x90);
}

/* /proc is not there (a chroot, say): executed again in a mount namespace without it. */
static void no_proc(void)
{
    if (!getenv("REALLOC_NO_PROC")) {
        char exe[512];
        ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
        CHECK(n > 0);
        exe[n] = '\0';
        if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
            mount("none", "/proc", "tmpfs", 0, NULL) != 0)
            test_skip("no mount namespace of our own: %s", strerror(errno));
        setenv("REALLOC_NO_PROC", "1", 1);
        setenv("REMAP_LOG_FILE", "/dev/null", 1);
        execl(exe, "realloc", test_name, (char *)NULL);
        test_fail(__FILE__, __LINE__, "exec");
    }
    struct remap_stats s = stats_now();
    CHECK_EQ(s.ways[REMAP_WAY_REALLOC].seen, 0);
    CHECK_EQ(s.ways[REMAP_WAY_REALLOC].why, REMAP_WHY_PROC);
    CHECK_EQ(s.ways[REMAP_WAY_REALLOC].error, ENOENT);
    struct buffer b;
    buffer_start(&b, 1);
    buffer_grow(&b);
}

/* The reason is told, once, and with it what happens instead. */
static void reason_is_told(void)
{
    char log[400];
    char text[1024] = "";
    if (!getenv("MEDDLE")) {
        temp_dir(log, sizeof(log) - 8);
        strcat(log, "/log");
        setenv("REALLOC_LOG", log, 1);
        with_meddler("jump");
    }
    snprintf(log, sizeof(log), "REMAP_LOG_FILE=%s", getenv("REALLOC_LOG"));
    struct peer peer = peer_start(log, "mover", NULL);
    CHECK_EQ(peer_end(&peer), 0);
    FILE *file = fopen(getenv("REALLOC_LOG"), "re");
    CHECK(file != NULL);
    CHECK(fgets(text, sizeof(text), file) != NULL);
    CHECK(strstr(text, "warning: REMAP_CATCH: 'realloc' is not possible here: ") != NULL);
    CHECK(strstr(text, "go to the kernel as they are") != NULL);
    CHECK(fgets(text, sizeof(text), file) == NULL);
    fclose(file);
    unlink(getenv("REALLOC_LOG"));
}

/* ---- what is said, to whom ---- */

/* Starts a program in which the way is refused, with this as its standard error. */
static pid_t start_refused(int standard_error)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        char path[600];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);
        int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
        path[n > 0 ? n : 0] = '\0';
        memcpy(strrchr(path, '/') + 1, "mover", 6);
        unsetenv("REMAP_LOG_FILE");
        dup2(nothing, 0);
        dup2(standard_error, 2);
        execl(path, "mover", (char *)NULL);
        _exit(98);
    }
    return pid;
}

/* Nobody reads it any more: no SIGPIPE. */
static void told_to_nobody(void)
{
    int ends[2];
    with_meddler("jump");
    CHECK_OK(pipe2(ends, O_CLOEXEC));
    close(ends[0]);
    CHECK_EQ(test_wait(start_refused(ends[1])), 0);
}

/* It is full, and will not be read before the program has ended. */
static void told_in_vain(void)
{
    static const char rubbish[4096];
    int ends[2];
    with_meddler("jump");
    CHECK_OK(pipe2(ends, O_CLOEXEC | O_NONBLOCK));
    while (write(ends[1], rubbish, sizeof(rubbish)) > 0) {
    }
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(fcntl(ends[1], F_SETFL, 0), 0);
    CHECK_EQ(test_wait(start_refused(ends[1])), 0);
}

/* ---- a probe at the entry ---- */

#if defined(__x86_64__)
/*
 * What a uprobe makes of a call: the first instruction, as the file has it, is executed elsewhere,
 * and the rest goes on behind it.
 */
static void probed_entry(void)
{
    unsigned char first[4];
    unsigned char *code = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mremap_function function;
    CHECK(code != MAP_FAILED);
    code_in_file(first, sizeof(first));
    if (memcmp(first, "\xf3\x0f\x1e\xfa", 4) != 0 && memcmp(first, "\x48\x83\xec", 3) != 0)
        test_skip("the first instruction of this libc's mremap() cannot stay");
    uintptr_t behind = (uintptr_t)libc_code() + sizeof(first);
    memcpy(code, first, sizeof(first));
    memcpy(code + 4, "\xff\x25\0\0\0\0", 6);
    memcpy(code + 10, &behind, sizeof(behind));
    CHECK_OK(mprotect(code, PAGE, PROT_READ | PROT_EXEC));
    *(void **)&function = code;
    char *src = piece(4 * PAGE, 3);
    char *dst = island(4 * PAGE);
    CHECK_PTR(function(src, 4 * PAGE, 4 * PAGE, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, 4 * PAGE, 3);
    CHECK_EQ(stats_now().ways[REMAP_WAY_REALLOC].calls, 1);
}
#else
static void probed_entry(void)
{
    test_skip("only for x86-64");
}
#endif

static const struct test_case cases[] = {
    {"grown", grown, CATCH},
    {"not_asked", not_asked, "REMAP_CATCH="},
    {"threads", threads, CATCH},
    {"answers", answers, CATCH},
    {"only_realloc", only_realloc, "REMAP_CATCH=realloc"},
    {"policy_off", policy_off, CATCH " REMAP_POLICY=off"},
    {"code_is_one_vma", code_is_one_vma, CATCH},
    {"mem_refused", mem_refused, CATCH},
    {"forked", forked, CATCH},
    {"unloaded", unloaded, CATCH},
    {"sealed", sealed, CATCH},
    {"other_threads", other_threads, CATCH},
    {"other_hook", other_hook, CATCH},
    {"breakpoint_inside", breakpoint_inside, CATCH},
    {"other_code", other_code, CATCH},
    {"no_proc", no_proc, CATCH},
    {"reason_is_told", reason_is_told, CATCH},
    {"told_to_nobody", told_to_nobody, CATCH},
    {"told_in_vain", told_in_vain, CATCH},
    {"probed_entry", probed_entry, CATCH},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
