/* SPDX-License-Identifier: MIT */
/*
 * The interposed symbols. Rules of this library, which lives inside other people's programs:
 *
 *   - raw system calls in everything a move needs; no malloc, no stdio, no locks that wait;
 *   - errno changes only where the interposed function itself reports a failure;
 *   - nothing is opened, mapped or created before the first call that could move memory;
 *   - libc and the loader are called only here, in the constructor, before main.
 *
 * mremap() and syscall(SYS_mremap) go to the decision (mremap_wrap.c). Calls that are passed on go
 * to the next mremap() in line if that is someone else's (an allocator that watches mappings, say),
 * and straight to the kernel if it is libc's: libc would refuse flags that it does not know.
 *
 * The functions that are taken over for the trap alone are in sigcalls.c.
 */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <unistd.h>

#include "callers.h"
#include "catch.h"
#include "early_env.h"
#include "gate.h"
#include "kernel.h"
#include "mremap_wrap.h"
#include "process.h"
#include "sigcalls.h"
#include "signals.h"

#define EXPORT __attribute__((visibility("default")))

typedef void *(*mremap_function)(void *, size_t, size_t, int, ...);

/* Set by the syscall() stub once it sees SYS_userfaultfd. */
__attribute__((used)) volatile char remap_program_has_uffd;

static mremap_function foreign_mremap; /* NULL: libc's, or none */
static bool
    direct; /* the constructor has run, calls of mremap() are ours, nobody else is in line */

/* Set while a foreign mremap() runs on our behalf: its own call must not come back to us. */
static __thread int passing;

static long raw_mremap(const struct wrap_call *c)
{
    return k_mremap(c->addr, c->old_length, c->new_length, c->flags, c->dst);
}

static long next_mremap(const struct wrap_call *c)
{
    if (!foreign_mremap)
        return raw_mremap(c);
    int saved = errno;
    passing++;
    void *ret = foreign_mremap((void *)c->addr, c->old_length, c->new_length, (int)c->flags,
                               (void *)c->dst);
    passing--;
    long result = ret == MAP_FAILED ? -errno : (long)(uintptr_t)ret;
    errno = saved;
    return result;
}

/* Before the constructor: another library's constructor may move memory. */
static void ensure_init(void)
{
    static bool done;
    if (!done) {
        done = true;
        process_init(environ ? environ : (char **)(uintptr_t)early_environment());
    }
}

static long intercepted(const struct wrap_call *c)
{
    if (passing)
        return raw_mremap(c);
    ensure_init();
    /* Without us, only a call of the symbol would reach the next in line. */
    wrap_plain plain = c->way == REMAP_WAY_SYMBOL ? next_mremap : raw_mremap;
    if (process_activity() == PROCESS_INERT || !options_catch(process_options(), c->way))
        return plain(c);
    if (remap_program_has_uffd)
        process_saw_userfaultfd();
    return wrap_mremap(c, plain);
}

static void *answer(const struct wrap_call *c)
{
    long ret;
    if (direct && !wrap_could_move(c) && c->flags <= K_MREMAP_MAYMOVE) {
        ret = raw_mremap(c);
        wrap_count_unmoved(c->way, k_failed(ret));
    } else {
        ret = intercepted(c);
    }
    if (k_failed(ret)) {
        errno = (int)-ret;
        return MAP_FAILED;
    }
    return (void *)(uintptr_t)ret;
}

/* The call with the variable argument, which is there only if a flag says so. */
#define CALL_FROM_ARGUMENTS(c, arrived)                                                            \
    struct wrap_call c = {                                                                         \
        .addr = (uintptr_t)addr,                                                                   \
        .old_length = old_length,                                                                  \
        .new_length = new_length,                                                                  \
        .flags = (unsigned int)flags,                                                              \
        .way = (arrived),                                                                          \
    };                                                                                             \
    if ((c).flags & (K_MREMAP_FIXED | K_MREMAP_DONTUNMAP)) {                                       \
        va_list ap;                                                                                \
        va_start(ap, flags);                                                                       \
        (c).dst = (uintptr_t)va_arg(ap, void *);                                                   \
        va_end(ap);                                                                                \
    }

EXPORT void *mremap(void *addr, size_t old_length, size_t new_length, int flags, ...)
{
    CALL_FROM_ARGUMENTS(c, REMAP_WAY_SYMBOL)
    return answer(&c);
}

/* libc's own calls, once its mremap() is redirected (redirect.c). */
static void *libc_mremap(void *addr, size_t old_length, size_t new_length, int flags, ...)
{
    CALL_FROM_ARGUMENTS(c, REMAP_WAY_REALLOC)
    return answer(&c);
}

/* syscall(SYS_mremap, ...) arrives here, see the stub below. */
__attribute__((used)) long remap_syscall_mremap(long addr, long old_length, long new_length,
                                                long flags, long dst);
long remap_syscall_mremap(long addr, long old_length, long new_length, long flags, long dst)
{
    struct wrap_call c = {
        .addr = (uintptr_t)addr,
        .old_length = (size_t)old_length,
        .new_length = (size_t)new_length,
        .flags = (unsigned long)flags,
        .dst = (flags & (long)(K_MREMAP_FIXED | K_MREMAP_DONTUNMAP)) ? (uintptr_t)dst : 0,
        .way = REMAP_WAY_SYSCALL,
    };
    long ret = intercepted(&c);
    if (k_failed(ret)) {
        errno = (int)-ret;
        return -1;
    }
    return ret;
}

/* The next syscall() in line, or our own until the constructor has run. */
__attribute__((used)) long (*remap_next_syscall)(long, ...);
long remap_own_syscall(long n, long a, long b, long c, long d, long e, long f);
__attribute__((used)) long remap_own_syscall(long n, long a, long b, long c, long d, long e, long f)
{
    long ret = k_syscall6(n, a, b, c, d, e, f);
    if (k_failed(ret)) {
        errno = (int)-ret;
        return -1;
    }
    return ret;
}

/*
 * syscall() in assembly: any other number is passed on by a jump, with every register and the stack
 * as the caller left them. Nothing in between could disturb calls that return twice or on another
 * stack, and all six arguments arrive.
 */
#if defined(__x86_64__)
__asm__(".text\n"
        ".globl syscall\n"
        ".type syscall, @function\n"
        "syscall:\n"
        "    endbr64\n"
        "    cmpq $25, %rdi\n" /* SYS_mremap */
        "    je 1f\n"
        "    cmpq $323, %rdi\n" /* SYS_userfaultfd: noticed, and passed on */
        "    je 3f\n"
        "4:  movq remap_next_syscall(%rip), %rax\n"
        "    testq %rax, %rax\n"
        "    je 2f\n"
        "    jmpq *%rax\n"
        "1:  movq %rsi, %rdi\n"
        "    movq %rdx, %rsi\n"
        "    movq %rcx, %rdx\n"
        "    movq %r8, %rcx\n"
        "    movq %r9, %r8\n"
        "    jmp remap_syscall_mremap\n"
        "2:  jmp remap_own_syscall\n"
        "3:  movb $1, remap_program_has_uffd(%rip)\n"
        "    jmp 4b\n"
        ".size syscall, . - syscall\n");
_Static_assert(SYS_mremap == 25 && SYS_userfaultfd == 323, "the stub compares with these");
#elif defined(__aarch64__)
__asm__(".text\n"
        ".globl syscall\n"
        ".type syscall, %function\n"
        "syscall:\n"
        "    hint #34\n"     /* bti c */
        "    cmp x0, #216\n" /* SYS_mremap */
        "    b.eq 1f\n"
        "    cmp x0, #282\n" /* SYS_userfaultfd: noticed, and passed on */
        "    b.eq 3f\n"
        "4:  adrp x16, remap_next_syscall\n"
        "    ldr x16, [x16, #:lo12:remap_next_syscall]\n"
        "    cbz x16, 2f\n"
        "    br x16\n"
        "1:  mov x0, x1\n"
        "    mov x1, x2\n"
        "    mov x2, x3\n"
        "    mov x3, x4\n"
        "    mov x4, x5\n"
        "    b remap_syscall_mremap\n"
        "2:  b remap_own_syscall\n"
        "3:  adrp x16, remap_program_has_uffd\n"
        "    mov w17, #1\n"
        "    strb w17, [x16, #:lo12:remap_program_has_uffd]\n"
        "    b 4b\n"
        ".size syscall, . - syscall\n");
_Static_assert(SYS_mremap == 216 && SYS_userfaultfd == 282, "the stub compares with these");
#endif

static void before_fork(void)
{
    process_settle(); /* we may be the child of a fork that called no handlers */
    gate_close();
}

static void in_child(void)
{
    gate_reset_in_child();
    process_in_child();
    wrap_reset_in_child();
    signals_in_child();
}

/* dl_iterate_phdr(): 2 if the object has libc's getpid() and the address, 1 if only the former. */
static int is_libc_with(struct dl_phdr_info *info, size_t size, void *address)
{
    (void)size;
    bool is_libc = false;
    bool has_it = false;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        uintptr_t length = info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        is_libc = is_libc || (uintptr_t)&getpid - start < length;
        has_it = has_it || (uintptr_t)address - start < length;
    }
    return !is_libc ? 0 : has_it ? 2 : 1;
}

/* (dladdr() would look through all of libc's symbols for the nearest one.) */
static bool is_in_libc(void *address)
{
    return dl_iterate_phdr(is_libc_with, address) == 2;
}

__attribute__((constructor)) static void begin(int argc, char **argv, char **envp)
{
    (void)argc;
    (void)argv;
    process_init(envp);
    remap_next_syscall = (long (*)(long, ...))(uintptr_t)dlsym(RTLD_NEXT, "syscall");
    void *next = dlsym(RTLD_NEXT, "mremap");
    if (next && !is_in_libc(next))
        foreign_mremap = (mremap_function)(uintptr_t)next;
    if (process_activity() == PROCESS_ACTIVE) {
        if (process_options()->callers != 0)
            callers_load(process_options());
        pthread_atfork(before_fork, gate_open, in_child);
        direct = !foreign_mremap && options_catch(process_options(), REMAP_WAY_SYMBOL);
    }
    static const struct catch_entries entries = {libc_mremap, intercepted};
    sigcalls_begin();
    catch_begin(&entries, envp);
    if (process_activity() != PROCESS_ACTIVE && signals_taken()) /* a parent's trap */
        pthread_atfork(NULL, NULL, signals_in_child);
}

__attribute__((destructor)) static void end(void)
{
    struct process *p = process_peek();
    if (p)
        wrap_hand_over(p);
    process_end();
}
