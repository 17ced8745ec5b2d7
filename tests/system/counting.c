/* SPDX-License-Identifier: MIT */
/* A second preload library that defines mremap(), as allocators do: counts, and calls the next. */
#include <dlfcn.h>
#include <stdarg.h>
#include <sys/mman.h>

unsigned counting_calls(void);

static unsigned calls;

__attribute__((visibility("default"))) unsigned counting_calls(void)
{
    return __atomic_load_n(&calls, __ATOMIC_RELAXED);
}

__attribute__((visibility("default"))) void *mremap(void *old, size_t old_size, size_t new_size,
                                                    int flags, ...)
{
    static void *(*next)(void *, size_t, size_t, int, ...);
    void *to = 0;
    if (flags & MREMAP_FIXED) {
        va_list args;
        va_start(args, flags);
        to = va_arg(args, void *);
        va_end(args);
    }
    if (!next) {
        *(void **)&next = dlsym(RTLD_NEXT, "mremap");
    }
    __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
    return next(old, old_size, new_size, flags, to);
}
