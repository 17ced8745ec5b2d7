/* SPDX-License-Identifier: MIT */
#include "trap.h"

#include <dlfcn.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include "early_env.h"
#include "kernel.h"
#include "process.h"
#include "signals.h"
#include "starts.h"
#include "text.h"

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* si_code of a trap */
#endif

/* In the fifth argument of a call that only asks whether it is trapped, and the answer. */
#define QUESTION 0x7472617021ul
#define TRAPPED  1

/* What trapped calls come to; NULL before the constructor: the call as it is. */
static long (*perform)(const struct wrap_call *);

/* ---- a trapped call ---- */

struct registers {
    unsigned long arguments[6];
};

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
static struct registers get_registers(const ucontext_t *context)
{
    const greg_t *r = context->uc_mcontext.gregs;
    return (struct registers){{
        (unsigned long)r[REG_RDI],
        (unsigned long)r[REG_RSI],
        (unsigned long)r[REG_RDX],
        (unsigned long)r[REG_R10],
        (unsigned long)r[REG_R8],
        (unsigned long)r[REG_R9],
    }};
}

static void put_result(ucontext_t *context, long result)
{
    context->uc_mcontext.gregs[REG_RAX] = result;
}
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
static struct registers get_registers(const ucontext_t *context)
{
    struct registers r;
    for (int i = 0; i < 6; i++)
        r.arguments[i] = context->uc_mcontext.regs[i];
    return r;
}

static void put_result(ucontext_t *context, long result)
{
    context->uc_mcontext.regs[0] = (unsigned long)result;
}
#endif

static long make_call(const unsigned long arguments[6])
{
    unsigned long flags = arguments[3];
    struct wrap_call c = {
        .addr = arguments[0],
        .old_length = arguments[1],
        .new_length = arguments[2],
        .flags = flags,
        .dst = flags & (K_MREMAP_FIXED | K_MREMAP_DONTUNMAP) ? arguments[4] : 0,
        .way = REMAP_WAY_TRAP,
    };
    if (!perform)
        return k_mremap(c.addr, c.old_length, c.new_length, c.flags, c.dst);
    int saved = errno;
    long result = perform(&c);
    errno = saved;
    return result;
}

static bool on_trap(siginfo_t *info, void *context)
{
    if (info->si_code != SYS_SECCOMP || info->si_syscall != SYS_mremap ||
        info->si_arch != ARCHITECTURE)
        return false;
    struct registers r = get_registers(context);
    if (r.arguments[5] == K_MREMAP_MARKER)
        return false; /* another filter's, which would trap what we do as well */
    if (r.arguments[4] == QUESTION && r.arguments[2] == 0) {
        put_result(context, TRAPPED);
        return true;
    }
    /* From here on as if in the call: a handler that interrupts us may make a trapped call, too. */
    k_sigset mask;
    __builtin_memcpy(&mask, &((ucontext_t *)context)->uc_sigmask, sizeof(mask));
    k_sigprocmask(SIG_SETMASK, &mask, NULL);
    put_result(context, make_call(r.arguments));
    return true;
}

/* A harmless call (its new length is 0: EINVAL), made with and without the marker. */
static bool is_trapped(void)
{
    return k_syscall6(SYS_mremap, 0, 0, 0, 0, (long)QUESTION, 0) == TRAPPED;
}

/* ---- a filter that was there before us ---- */

/* REMAP_CATCH of this environment has `trap`, or may have: then it is worth a system call. */
static bool is_asked_for(char *const *envp)
{
    for (; envp && *envp; envp++) {
        if (!text_starts(*envp, "REMAP_CATCH="))
            continue;
        for (const char *s = *envp; *s != '\0'; s++) {
            if (text_starts(s, "trap"))
                return true;
        }
    }
    return false;
}

/* SIGSYS is taken over if a parent has left its filter to us: true. */
static bool take_inherited(char *const *envp)
{
    if (!is_asked_for(envp) || k_prctl(PR_GET_SECCOMP, 0) != SECCOMP_MODE_FILTER ||
        k_failed(signals_take(on_trap, true)))
        return false;
    if (is_trapped())
        return true;
    signals_give_back();
    return false;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define INSTRUMENTED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define INSTRUMENTED 1
#endif

#if defined(__GLIBC__) && !defined(INSTRUMENTED)
/*
 * The loader chooses between the two implementations of an indirect function when it relocates this
 * library: after the libraries that we depend on are relocated, and before any constructor of any
 * library, or .preinit_array of the program, has run. What the choice comes to is the answer.
 */
static bool was_inherited(void)
{
    return true;
}

static bool was_not_inherited(void)
{
    return false;
}

typedef bool (*inherited_function)(void);
__attribute__((used)) static inherited_function choose(void)
{
    return take_inherited(early_environment()) ? was_inherited : was_not_inherited;
}

static bool is_inherited(void) __attribute__((ifunc("choose")));
#define LOOK_FOR_INHERITED(envp) ((void)(envp), is_inherited())
#else
#define LOOK_FOR_INHERITED(envp) take_inherited(envp)
#endif

/* ---- a filter of our own ---- */

/* libseccomp, for the moment in which the filter is made. */
struct library {
    void *handle;
    __typeof__(&seccomp_init) init;
    __typeof__(&seccomp_attr_set) attr_set;
    __typeof__(&seccomp_rule_add_array) rule_add_array;
    __typeof__(&seccomp_load) load;
    __typeof__(&seccomp_release) release;
};

static bool open_library(struct library *l)
{
    l->handle = dlopen("libseccomp.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!l->handle)
        return false;
    *(void **)&l->init = dlsym(l->handle, "seccomp_init");
    *(void **)&l->attr_set = dlsym(l->handle, "seccomp_attr_set");
    *(void **)&l->rule_add_array = dlsym(l->handle, "seccomp_rule_add_array");
    *(void **)&l->load = dlsym(l->handle, "seccomp_load");
    *(void **)&l->release = dlsym(l->handle, "seccomp_release");
    if (l->init && l->attr_set && l->rule_add_array && l->load && l->release)
        return true;
    dlclose(l->handle);
    return false;
}

/* 0 or a negative errno. */
static int load_filter(const struct library *l)
{
    const struct scmp_arg_cmp unmarked = {
        .arg = 5,
        .op = SCMP_CMP_NE,
        .datum_a = K_MREMAP_MARKER,
    };
    scmp_filter_ctx filter = l->init(SCMP_ACT_ALLOW);
    if (!filter)
        return -ENOMEM;
    /* A program of another architecture that is executed is not ours to kill. */
    int ret = l->attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
    /* What older libraries and kernels do without. This is no sandbox: it need not be slowed down
     * by the defences against speculation. (And there is one thread.) */
    (void)l->attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    (void)l->attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    if (ret == 0)
        ret = l->rule_add_array(filter, SCMP_ACT_TRAP, SYS_mremap, 1, &unmarked);
    /* Sets no_new_privs too, which cannot be undone: so nothing before this can still fail. */
    if (ret == 0)
        ret = l->load(filter);
    if (ret == -ECANCELED) /* seccomp_load(3): the kernel refuses, and errno says why */
        ret = errno != 0 ? -errno : ret;
    l->release(filter);
    return ret;
}

static enum remap_why set_filter(long *error)
{
    struct library library;
    if (!open_library(&library)) {
        (void)dlerror(); /* the program's own dlerror() shall not find it */
        return REMAP_WHY_LIBSECCOMP;
    }
    *error = signals_take(on_trap, false);
    if (k_failed(*error)) {
        dlclose(library.handle);
        return REMAP_WHY_SIGNAL;
    }
    *error = load_filter(&library);
    dlclose(library.handle);
    if (*error != 0) {
        signals_give_back();
        return REMAP_WHY_FILTER;
    }
    /* Loaded, but another filter has the say: SIGSYS stays ours, some call may be trapped yet. */
    return is_trapped() ? REMAP_WHY_NONE : REMAP_WHY_FILTER;
}

enum remap_why trap_install(long (*performer)(const struct wrap_call *), bool wanted,
                            enum remap_trap how, char *const *envp, long *error)
{
    *error = 0;
    bool inherited = LOOK_FOR_INHERITED(envp);
    perform = performer;
    if (inherited)
        return wanted ? REMAP_WHY_INHERITED : REMAP_WHY_NONE;
    if (!wanted)
        return REMAP_WHY_NONE;
    if (how == TRAP_GUARDED && (starts_others() || !starts_others_with_us(envp)))
        return REMAP_WHY_CHILDREN;
    /* A thread that has SIGSYS blocked would be killed. */
    long threads = process_threads();
    if (k_failed(threads)) {
        *error = threads;
        return REMAP_WHY_PROC;
    }
    if (threads != 1)
        return REMAP_WHY_THREADS;
    return set_filter(error);
}
