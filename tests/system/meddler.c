/* SPDX-License-Identifier: MIT */
/*
 * A preload library whose constructor runs before the shim's and does to libc's mremap() what
 * MEDDLE says: seal (its mapping), thread (starts one), jump (another hook stands there), trap (a
 * debugger's breakpoint behind the first instruction), code (the system call is not where it is
 * known to be).
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_mseal
#define SYS_mseal 462
#endif

static void *sleeper(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void write_code(unsigned char *at, const void *bytes, size_t size)
{
    int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        _exit(99);
    if (pwrite(fd, bytes, size, (off_t)(uintptr_t)at) != (ssize_t)size) {
        /* Some kernels refuse that. */
        char *page = (char *)((uintptr_t)at & ~(uintptr_t)4095);
        if (mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
            _exit(99);
        memcpy(at, bytes, size);
        mprotect(page, 8192, PROT_READ | PROT_EXEC);
    }
    close(fd);
}

__attribute__((constructor)) static void meddle(void)
{
#if defined(__aarch64__)
    static const unsigned char jump[] = {0, 0, 0, 0x14};
    static const unsigned char breakpoint[] = {0, 0, 0x20, 0xd4};
#else
    static const unsigned char breakpoint[] = {0xcc};
    static const unsigned char jump[] = {0xe9, 0, 0, 0, 0};
#endif
    const char *what = getenv("MEDDLE");
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    unsigned char *code = libc ? dlsym(libc, "mremap") : NULL;
    pthread_t thread;
    if (!what || !code)
        return;
    if (strcmp(what, "seal") == 0) {
        uintptr_t page = (uintptr_t)code & ~(uintptr_t)4095;
        setenv("MEDDLE_RESULT", syscall(SYS_mseal, page, 4096, 0) == 0 ? "done" : "refused", 1);
    } else if (strcmp(what, "thread") == 0) {
        if (pthread_create(&thread, NULL, sleeper, NULL) != 0)
            _exit(99);
    } else if (strcmp(what, "jump") == 0) {
        write_code(code, jump, sizeof(jump));
    } else if (strcmp(what, "trap") == 0) {
        write_code(code + 8, breakpoint, sizeof(breakpoint));
    } else if (strcmp(what, "code") == 0) {
        unsigned char nothing[128];
        memset(nothing, 0x90, sizeof(nothing));
        write_code(code, nothing, sizeof(nothing));
    }
}
