/* SPDX-License-Identifier: MIT */
/*
 * The double: a tracer. A seccomp filter in the child stops it (SECCOMP_RET_TRACE) at mremap(),
 * uname() and what has to do with userfaultfd, at nothing else; the tracer answers.
 *
 * Why ptrace and not the notifier of seccomp (SCMP_ACT_NOTIFY): the shim believes only behaviour.
 * Two faulted neighbours must become one VMA, in the address space of the caller, with all that was
 * in them, before the call returns. A notifier can answer a call or let it through, but cannot map
 * anything there; a tracer can have the stopped thread itself make other calls in place of this
 * one. Those are real: afterwards /proc shows real VMAs, merged by the kernel by its own rules.
 *
 * A relocation is: the source to a place of its own (mremap), its pages away from there
 * (MREMAP_DONTUNMAP), the emptied VMA to the destination, where it merges, the pages copied into
 * it. So a VMA keeps its attributes, but for its lock; and it is not atomic: other threads see it
 * half done. The double knows shared, file and special mappings as what cannot be relocated, and
 * ranges of several VMAs; it knows nothing of pages that are shared with a child, pinned, KSM's or
 * parts of huge ones, of a userfaultfd that watches the source, of private /dev/zero. Where the
 * arguments are wrong, the real kernel says so.
 */
#include "double.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define CALLS 8192

/* Shared by the double and those under it. The double looks and writes while the calling thread is
 * stopped. */
static struct orders {
    long always[DOUBLE_KINDS];
    long once[DOUBLE_KINDS];
    bool has_once[DOUBLE_KINDS];
    char release[65];
    size_t count;
    struct double_call calls[CALLS];
} * orders;

static void have_orders(void)
{
    if (orders) {
        return;
    }
    orders = mmap(NULL, sizeof(*orders), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(orders != MAP_FAILED);
    orders->always[DOUBLE_PLAIN] = DOUBLE_KERNEL;
    orders->always[DOUBLE_8] = DOUBLE_RELOCATES;
    orders->always[DOUBLE_16] = DOUBLE_RELOCATES;
}

void double_answers(enum double_kind kind, long answer)
{
    have_orders();
    orders->always[kind] = answer;
}

void double_answers_once(enum double_kind kind, long answer)
{
    have_orders();
    orders->once[kind] = answer;
    orders->has_once[kind] = true;
}

void double_uname(const char *release)
{
    have_orders();
    snprintf(orders->release, sizeof(orders->release), "%s", release);
}

size_t double_count(void)
{
    have_orders();
    return orders->count;
}

const struct double_call *double_call(size_t nth)
{
    have_orders();
    CHECK(nth < orders->count);
    return &orders->calls[nth];
}

/* ---- registers: all that depends on the architecture ---- */

#if defined(__x86_64__)
static const bool registers_known = true;
struct registers {
    struct user_regs_struct all;
};

static void registers_get(pid_t thread, struct registers *r)
{
    ptrace(PTRACE_GETREGS, thread, NULL, &r->all);
}

static void registers_set(pid_t thread, const struct registers *r)
{
    ptrace(PTRACE_SETREGS, thread, NULL, &r->all);
}

/* The call in progress has this result; before its entry: it is not made at all. */
static void registers_result(struct registers *r, long result)
{
    r->all.rax = (unsigned long)result;
    r->all.orig_rax = ~0ul; /* nothing to restart */
}

/* Back to the instruction that made the call, for another one. */
static void registers_call(struct registers *r, long number, const long arguments[6])
{
    r->all.rip -= 2; /* "syscall" */
    r->all.orig_rax = ~0ul;
    r->all.rax = (unsigned long)number;
    r->all.rdi = (unsigned long)arguments[0];
    r->all.rsi = (unsigned long)arguments[1];
    r->all.rdx = (unsigned long)arguments[2];
    r->all.r10 = (unsigned long)arguments[3];
    r->all.r8 = (unsigned long)arguments[4];
    r->all.r9 = (unsigned long)arguments[5];
}
#else
static const bool registers_known = false;
struct registers {
    long none;
};

static void registers_get(pid_t thread, struct registers *r)
{
    (void)thread;
    r->none = 0;
}

static void registers_set(pid_t thread, const struct registers *r)
{
    (void)thread;
    (void)r;
}

static void registers_result(struct registers *r, long result)
{
    (void)r;
    (void)result;
}

static void registers_call(struct registers *r, long number, const long arguments[6])
{
    (void)r;
    (void)number;
    (void)arguments;
}
#endif

/* ---- a stopped thread, and calls made by it ---- */

struct stopped {
    pid_t thread;
    struct registers before; /* when it stopped at its call */
    uint64_t mask;           /* its signal mask then */
    bool mine;               /* taken over: its call will not be made, others can be */
    bool gone;               /* it ended meanwhile: its process exits or was killed */
    int memory;              /* /proc/PID/mem, -1 until it is needed */
};

static pid_t subject; /* the process that was put under the double */
static int subject_status;
static bool subject_ended;

/* True if the wait status says that the thread has ended. */
static bool has_ended(pid_t thread, int status)
{
    if (WIFSTOPPED(status)) {
        return false;
    }
    if (thread == subject) {
        subject_ended = true;
        subject_status = status;
    }
    return true;
}

static struct __ptrace_syscall_info call_info(pid_t thread)
{
    struct __ptrace_syscall_info info = {.op = PTRACE_SYSCALL_INFO_NONE};
    ptrace(PTRACE_GET_SYSCALL_INFO, thread, (void *)sizeof(info), &info);
    return info;
}

/* Lets the thread go on to the end of its system call; returns the call's result. */
static long to_the_end(struct stopped *s)
{
    while (!s->gone) {
        int status = 0;
        ptrace(PTRACE_SYSCALL, s->thread, NULL, NULL);
        if (waitpid(s->thread, &status, __WALL) != s->thread || has_ended(s->thread, status)) {
            s->gone = true;
            break;
        }
        struct __ptrace_syscall_info info = call_info(s->thread);
        if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
            return (long)info.exit.rval;
        }
    }
    return -ESRCH;
}

/* The thread's own call is not made. Its signals wait, so that it stops where it is expected. */
static void take_over(struct stopped *s)
{
    uint64_t all = ~(uint64_t)0;
    ptrace(PTRACE_GETSIGMASK, s->thread, (void *)sizeof(s->mask), &s->mask);
    ptrace(PTRACE_SETSIGMASK, s->thread, (void *)sizeof(all), &all);
    registers_get(s->thread, &s->before);
    struct registers skipped = s->before;
    registers_result(&skipped, -ENOSYS);
    registers_set(s->thread, &skipped);
    to_the_end(s);
    s->mine = true;
}

/* Has the thread make a system call. */
static long make(struct stopped *s, long number, long a, long b, long c, long d, long e, long f)
{
    const long arguments[6] = {a, b, c, d, e, f};
    if (!s->mine) {
        take_over(s);
    }
    struct registers r = s->before;
    registers_call(&r, number, arguments);
    registers_set(s->thread, &r);
    return to_the_end(s);
}

static long make_mremap(struct stopped *s, const struct double_call *c, unsigned long flags)
{
    return make(s, SYS_mremap, (long)c->addr, (long)c->old_size, (long)c->new_size, (long)flags,
                (long)c->dst, 0);
}

static long make_mmap(struct stopped *s, unsigned long at, size_t size, int prot, int more)
{
    return make(s, SYS_mmap, (long)at, (long)size, prot, MAP_PRIVATE | MAP_ANONYMOUS | more, -1, 0);
}

static long make_munmap(struct stopped *s, unsigned long at, size_t size)
{
    return make(s, SYS_munmap, (long)at, (long)size, 0, 0, 0, 0);
}

static void let_go(struct stopped *s, long result)
{
    if (!s->mine) {
        take_over(s);
    }
    registers_result(&s->before, result);
    registers_set(s->thread, &s->before);
    ptrace(PTRACE_SETSIGMASK, s->thread, (void *)sizeof(s->mask), &s->mask);
    ptrace(PTRACE_CONT, s->thread, NULL, NULL);
    if (s->memory >= 0) {
        close(s->memory);
    }
}

/* ---- its memory ---- */

static int open_proc(pid_t thread, const char *file, int flags)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)thread, file);
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) {
        test_fail(__FILE__, __LINE__, "%s", path);
    }
    return fd;
}

struct source {
    bool mapped;
    bool eligible; /* private anonymous memory, one VMA */
};

static struct source look_at(pid_t thread, unsigned long at, size_t size)
{
    struct source found = {.mapped = false};
    FILE *maps = fdopen(open_proc(thread, "maps", O_RDONLY), "r");
    CHECK(maps != NULL);
    char line[512];
    while (fgets(line, sizeof(line), maps)) {
        unsigned long start;
        unsigned long end;
        unsigned long inode;
        char perms[5];
        char device[16];
        char name[256] = "";
        int fields = sscanf(line, "%lx-%lx %4s %*x %15s %lu %255[^\n]", &start, &end, perms, device,
                            &inode, name);
        CHECK_GE(fields, 5);
        if (at < start || at >= end) {
            continue;
        }
        const char *mark = name + strspn(name, " ");
        bool special = mark[0] == '[' && strcmp(mark, "[heap]") != 0 &&
                       strcmp(mark, "[stack]") != 0 && strncmp(mark, "[anon:", 6) != 0;
        found.mapped = true;
        found.eligible = perms[3] == 'p' && inode == 0 && !special && at + size <= end;
        break;
    }
    fclose(maps);
    return found;
}

/* One byte for each page: is anything there? The caller frees it; NULL: nothing is anywhere. */
static char *populated(pid_t thread, unsigned long at, size_t size)
{
    size_t pages = size / PAGE;
    char *map = calloc(pages, 1);
    int fd = open_proc(thread, "pagemap", O_RDONLY);
    bool any = false;
    CHECK(map != NULL);
    for (size_t i = 0; i < pages; i++) {
        uint64_t entry = 0;
        CHECK_EQ(pread(fd, &entry, sizeof(entry), (off_t)((at / PAGE + i) * sizeof(entry))),
                 (long)sizeof(entry));
        map[i] = (entry >> 62) != 0; /* present, or swapped */
        any |= map[i];
    }
    close(fd);
    if (!any) {
        free(map);
        map = NULL;
    }
    return map;
}

/* Page by page through /proc/PID/mem, which no protection keeps from reading and writing. */
static void copy_pages(struct stopped *s, unsigned long to, unsigned long from, const char *map,
                       size_t size)
{
    char page[PAGE];
    if (s->memory < 0) {
        s->memory = open_proc(s->thread, "mem", O_RDWR);
    }
    for (size_t i = 0; i < size; i += PAGE) {
        if (map[i / PAGE]) {
            CHECK_EQ(pread(s->memory, page, PAGE, (off_t)(from + i)), (long)PAGE);
            CHECK_EQ(pwrite(s->memory, page, PAGE, (off_t)(to + i)), (long)PAGE);
        }
    }
}

/* ---- mremap() ---- */

static size_t whole_pages(size_t size)
{
    return (size + PAGE - 1) & ~(PAGE - 1);
}

/* What the kernel finds wrong with the arguments alone; it shall say so itself. */
static bool arguments_are_good(const struct double_call *c)
{
    const size_t end = (1ul << 47) - PAGE; /* of the address space */
    size_t old_size = whole_pages(c->old_size);
    size_t new_size = whole_pages(c->new_size);
    if (c->addr % PAGE != 0 || old_size == 0 || new_size == 0 || new_size > end ||
        c->dst > end - new_size || ((c->flags & MREMAP_DONTUNMAP) && old_size != new_size)) {
        return false;
    }
    return !(c->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) ||
           (c->dst % PAGE == 0 && (c->addr + old_size <= c->dst || c->dst + new_size <= c->addr));
}

static long refuse(struct stopped *s, const struct double_call *c)
{
    if (c->flags & MREMAP_FIXED) {
        make_munmap(s, c->dst, whole_pages(c->new_size));
    }
    return -EFAULT;
}

static bool failed(long result)
{
    return result < 0 && result >= -4095;
}

static long move_whole(struct stopped *s, unsigned long from, unsigned long to, size_t size,
                       int flags)
{
    return make(s, SYS_mremap, (long)from, (long)size, (long)size, MOVE_TO | flags, (long)to, 0);
}

/* By way of two places of the double's own; what is at `to` gives way. */
static long rebuild(struct stopped *s, const struct double_call *c, unsigned long to,
                    const char *map, bool losing)
{
    size_t size = whole_pages(c->new_size);
    size_t old_size = whole_pages(c->old_size);
    long room = make_mmap(s, 0, 2 * size + 3 * PAGE, PROT_NONE, MAP_NORESERVE);
    if (failed(room)) {
        return room;
    }
    unsigned long own = (unsigned long)room + PAGE;
    unsigned long park = own + size + PAGE;
    unsigned long flags = (c->flags & MREMAP_DONTUNMAP) | MOVE_TO;
    long ret =
        make(s, SYS_mremap, (long)c->addr, (long)old_size, (long)size, (long)flags, (long)own, 0);
    if (!failed(ret)) {
        CHECK(!failed(move_whole(s, own, park, size, MREMAP_DONTUNMAP)));
        ret = move_whole(s, own, to, size, 0);
        CHECK_EQ(ret, to);
        if (!losing) {
            copy_pages(s, to, park, map, old_size < size ? old_size : size);
        }
    }
    make_munmap(s, (unsigned long)room, 2 * size + 3 * PAGE);
    return ret;
}

static long relocate(struct stopped *s, const struct double_call *c, bool losing)
{
    unsigned long plain = c->flags & 7;
    size_t old_size = whole_pages(c->old_size);
    size_t new_size = whole_pages(c->new_size);
    if (!arguments_are_good(c)) {
        return make_mremap(s, c, plain);
    }
    if (!(c->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))) {
        long in_place = make_mremap(s, c, 0);
        if (!failed(in_place)) {
            return in_place; /* no move is needed */
        }
    }
    struct source source = look_at(s->thread, c->addr, old_size);
    if (!source.eligible) {
        bool demanded = (c->flags & MUST) != 0 && source.mapped;
        return demanded ? refuse(s, c) : make_mremap(s, c, plain);
    }
    char *map = populated(s->thread, c->addr, old_size < new_size ? old_size : new_size);
    if (!map) {
        return make_mremap(s, c, plain); /* merges by itself */
    }
    bool fixed = (c->flags & MREMAP_FIXED) != 0;
    long to = fixed ? (long)c->dst : make_mmap(s, c->dst, new_size, PROT_NONE, MAP_NORESERVE);
    long ret = failed(to) ? to : rebuild(s, c, (unsigned long)to, map, losing);
    if (failed(ret) && !failed(to) && !fixed) {
        make_munmap(s, (unsigned long)to, new_size);
    }
    free(map);
    return ret;
}

static long answer_mremap(struct stopped *s, const struct double_call *c, long answer)
{
    bool flagged = (c->flags & (RELOC | MUST)) != 0;
    if (answer == -EFAULT && (c->flags & MUST)) {
        return refuse(s, c);
    }
    if (answer < 0) {
        return answer;
    }
    if (answer == DOUBLE_KERNEL) {
        return make_mremap(s, c, c->flags);
    }
    if (flagged && !(c->flags & MREMAP_MAYMOVE)) {
        return -EINVAL;
    }
    if (answer == DOUBLE_MOVES || !(c->flags & MREMAP_MAYMOVE)) {
        return make_mremap(s, c, c->flags & 7);
    }
    return relocate(s, c, answer == DOUBLE_LOSES);
}

static long next_answer(const struct double_call *c)
{
    enum double_kind kind = c->flags & MUST    ? DOUBLE_16
                            : c->flags & RELOC ? DOUBLE_8
                                               : DOUBLE_PLAIN;
    if (orders->has_once[kind]) {
        orders->has_once[kind] = false;
        return orders->once[kind];
    }
    return orders->always[kind];
}

static struct double_call *record(pid_t thread, const struct __ptrace_syscall_info *info)
{
    const uint64_t *a = (const uint64_t *)info->seccomp.args;
    CHECK(orders->count < CALLS);
    struct double_call *c = &orders->calls[orders->count++];
    *c = (struct double_call){.thread = thread, .number = (long)info->seccomp.nr};
    if (c->number == SYS_ioctl) {
        c->flags = a[1] & 0xffffffffu;
    } else if (c->number == SYS_userfaultfd) {
        c->flags = a[0];
    } else {
        c->addr = a[0];
        c->old_size = a[1];
        c->new_size = a[2];
        c->flags = a[3];
        c->dst = a[4];
    }
    return c;
}

static void answer_uname(struct stopped *s, unsigned long at)
{
    long result = make(s, SYS_uname, (long)at, 0, 0, 0, 0, 0);
    if (result == 0 && orders->release[0] != '\0') {
        struct iovec from = {orders->release, sizeof(orders->release)};
        struct iovec to = {(void *)(at + offsetof(struct utsname, release)),
                           sizeof(orders->release)};
        CHECK_EQ(process_vm_writev(s->thread, &from, 1, &to, 1, 0), (long)to.iov_len);
    }
    let_go(s, result);
}

/* A thread has stopped at a call that the filter names. */
static void on_call(pid_t thread)
{
    struct stopped s = {.thread = thread, .memory = -1};
    struct __ptrace_syscall_info info = call_info(thread);
    if (info.op != PTRACE_SYSCALL_INFO_SECCOMP) {
        return; /* killed meanwhile: its end will be told */
    }
    if (info.seccomp.nr == SYS_uname) {
        answer_uname(&s, info.seccomp.args[0]);
        return;
    }
    struct double_call *c = record(thread, &info);
    if (c->number == SYS_mremap) {
        c->result = answer_mremap(&s, c, next_answer(c));
        let_go(&s, c->result);
        return;
    }
    ptrace(PTRACE_CONT, thread, NULL, NULL);
}

/* ---- the two processes ---- */

static void on_stop(pid_t thread, int status)
{
    int event = status >> 16;
    int signal = WSTOPSIG(status);
    if (event == PTRACE_EVENT_SECCOMP) {
        on_call(thread);
    } else if (event == PTRACE_EVENT_STOP && signal != SIGTRAP) {
        ptrace(PTRACE_LISTEN, thread, NULL, NULL); /* stopped by a signal, as it should be */
    } else {
        ptrace(PTRACE_CONT, thread, NULL, (void *)(long)(event == 0 ? signal : 0));
    }
}

_Noreturn static void be_the_double(void)
{
    while (!subject_ended) {
        int status = 0;
        pid_t thread = waitpid(-1, &status, __WALL);
        CHECK(thread > 0);
        if (!has_ended(thread, status)) {
            on_stop(thread, status);
        }
    }
    if (WIFEXITED(subject_status)) {
        _exit(WEXITSTATUS(subject_status)); /* it has said why */
    }
    test_fail(__FILE__, __LINE__, "under the double: wait status %#x", (unsigned)subject_status);
}

static void install_filter(void)
{
    static const int traced[] = {SCMP_SYS(mremap), SCMP_SYS(uname), SCMP_SYS(userfaultfd)};
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    CHECK(filter != NULL);
    for (size_t i = 0; i < sizeof(traced) / sizeof(traced[0]); i++) {
        CHECK_EQ(seccomp_rule_add(filter, SCMP_ACT_TRACE(0), traced[i], 0), 0);
    }
    /* Every request of userfaultfd is of the type 0xAA. */
    CHECK_EQ(seccomp_rule_add(filter, SCMP_ACT_TRACE(0), SCMP_SYS(ioctl), 1,
                              SCMP_A1(SCMP_CMP_MASKED_EQ, 0xff00, 0xaa00)),
             0);
    int ret = seccomp_load(filter);
    if (ret != 0) {
        test_skip("no seccomp filter may be installed: %s", strerror(-ret));
    }
    seccomp_release(filter);
}

void under_double(void)
{
    int go[2];
    char c = 0;
    if (!registers_known) {
        test_skip("the double knows the registers of x86-64 only");
    }
    have_orders();
    CHECK_OK(pipe2(go, O_CLOEXEC));
    fflush(NULL);
    subject = fork();
    CHECK(subject >= 0);
    if (subject == 0) {
        close(go[1]);
        if (read(go[0], &c, 1) != 1) { /* not traced; the double has said why */
            _exit(FAILED);
        }
        close(go[0]);
        install_filter();
        return;
    }
    long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACECLONE | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SEIZE, subject, NULL, (void *)options) != 0) {
        int error = errno;
        close(go[1]);
        waitpid(subject, NULL, 0);
        test_skip("a child cannot be traced here: %s", strerror(error));
    }
    CHECK_EQ(write(go[1], &c, 1), 1);
    close(go[0]);
    close(go[1]);
    be_the_double();
}
