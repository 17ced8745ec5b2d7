/* SPDX-License-Identifier: MIT */
#include "redirect.h"

#include <dlfcn.h>
#include <link.h>

#include "kernel.h"
#include "page_size.h"
#include "vma.h"

/* A jump to an address of 64 bits, and what in the old code shows that it is what we think. */
#if defined(__x86_64__)
enum { JUMP_SIZE = 14, LANDING_SIZE = 4 };
/* endbr64: where an indirect call may land under CET. */
static const unsigned char landing[LANDING_SIZE] = {0xf3, 0x0f, 0x1e, 0xfa};
/* mov $25, %eax; syscall */
static const unsigned char makes_call[] = {0xb8, SYS_mremap, 0, 0, 0, 0x0f, 0x05};

static void make_jump(unsigned char jump[JUMP_SIZE], uintptr_t target)
{
    static const unsigned char indirect[6] = {0xff, 0x25}; /* jmp *0(%rip) */
    __builtin_memcpy(jump, indirect, sizeof(indirect));
    __builtin_memcpy(jump + sizeof(indirect), &target, sizeof(target));
}

/* A jump or a breakpoint: someone else was here first. */
static bool is_taken(const unsigned char *code)
{
    return code[0] == 0xe9 || code[0] == 0xeb || code[0] == 0xcc ||
           (code[0] == 0xff && code[1] == 0x25);
}
#elif defined(__aarch64__)
enum { JUMP_SIZE = 16, LANDING_SIZE = 4 };
/* bti c. (paciasp is a landing too, but signs a return address that nobody would check.) */
static const unsigned char landing[LANDING_SIZE] = {0x5f, 0x24, 0x03, 0xd5};
/* mov x8, #216 */
static const unsigned char makes_call[] = {0x08, 0x1b, 0x80, 0xd2};
_Static_assert(SYS_mremap == 216, "the code of mremap() has this number");

static void make_jump(unsigned char jump[JUMP_SIZE], uintptr_t target)
{
    /* ldr x16, .+8; br x16: through x16 a jump may land on bti c. */
    static const unsigned char indirect[8] = {0x50, 0x00, 0x00, 0x58, 0x00, 0x02, 0x1f, 0xd6};
    __builtin_memcpy(jump, indirect, sizeof(indirect));
    __builtin_memcpy(jump + sizeof(indirect), &target, sizeof(target));
}

/* b, or brk: someone else was here first. */
static bool is_taken(const unsigned char *code)
{
    return (code[3] & 0xfc) == 0x14 || (code[3] == 0xd4 && (code[2] & 0xe0) == 0x20) ||
           (code[3] == 0x58 && (code[0] & 0x1f) == 16);
}
#endif

/* glibc's mremap() and its size in bytes; NULL: this is not glibc, or it has none. */
static unsigned char *find(size_t *size)
{
    unsigned char *code = NULL;
    Dl_info info;
    ElfW(Sym) *symbol = NULL;
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    if (!libc)
        return NULL;
    if (dlsym(libc, "gnu_get_libc_version"))
        code = dlsym(libc, "mremap");
    dlclose(libc); /* it stays: we depend on it */
    if (!code || !dladdr1(code, &info, (void **)&symbol, RTLD_DL_SYMENT) || !symbol ||
        info.dli_saddr != code)
        return NULL;
    *size = symbol->st_size;
    return code;
}

/* proc(5): each thread is a directory there. */
static enum remap_why check_threads(long *error)
{
    struct stat st = {0};
    *error = k_fstatat(AT_FDCWD, "/proc/self/task", &st, 0);
    if (k_failed(*error))
        return REMAP_WHY_WRITE;
    return st.st_nlink == 3 ? REMAP_WHY_NONE : REMAP_WHY_THREADS;
}

static bool contains_the_call(const unsigned char *code, size_t size)
{
    for (size_t i = 0; i + sizeof(makes_call) <= size; i++) {
        if (__builtin_memcmp(code + i, makes_call, sizeof(makes_call)) == 0)
            return true;
    }
    return false;
}

/* The mapping of [start, end) allows no write, and may be changed: 0, or why not. */
static enum remap_why check_mapping(uintptr_t start, uintptr_t end, long *error)
{
    struct vma vma;
    long fd = k_openat(AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    *error = fd;
    if (k_failed(fd))
        return REMAP_WHY_WRITE;
    *error = vma_at((int)fd, false, start, &vma);
    k_close((int)fd);
    if (*error != 0)
        return REMAP_WHY_WRITE;
    if (vma.prot != (PROT_READ | PROT_EXEC) || !vma.has_file || vma.end < end)
        return REMAP_WHY_CODE;
    /* The protection that it has: changes nothing, but a sealed mapping (mseal(2), Linux 6.10)
     * refuses even that. /proc/self/mem would not. */
    uintptr_t page = start & ~((uintptr_t)page_size() - 1);
    *error = k_mprotect(page, page_align(end - page), vma.prot);
    return k_failed(*error) ? REMAP_WHY_SEALED : REMAP_WHY_NONE;
}

/* Through /proc/self/mem: 0 or a negative errno. */
static long overwrite(unsigned char *at, const unsigned char *bytes, size_t size)
{
    long fd = k_openat(AT_FDCWD, "/proc/self/mem", O_RDWR | O_CLOEXEC, 0);
    if (k_failed(fd))
        return fd;
    /* First what is there already: then both pages, should there be two, are our own copies, and
     * the bytes that matter cannot be written in part. */
    unsigned char old[JUMP_SIZE + LANDING_SIZE];
    __builtin_memcpy(old, at, size);
    long ret = k_pwrite((int)fd, old, size, (uintptr_t)at);
    if (ret == (long)size)
        ret = k_pwrite((int)fd, bytes, size, (uintptr_t)at);
    k_close((int)fd);
    if (k_failed(ret))
        return ret;
    return ret == (long)size && __builtin_memcmp(at, bytes, size) == 0 ? 0 : -EIO;
}

enum remap_why redirect_install(void *(*target)(void *, unsigned long, unsigned long, int, ...),
                                long *error)
{
    size_t size = 0;
    *error = 0;
    unsigned char *code = find(&size);
    if (!code)
        return REMAP_WHY_LIBC;
    size_t skip = size >= LANDING_SIZE && __builtin_memcmp(code, landing, LANDING_SIZE) == 0
                      ? LANDING_SIZE
                      : 0;
    if (size < skip + JUMP_SIZE || is_taken(code + skip) || !contains_the_call(code, size))
        return REMAP_WHY_CODE;
    enum remap_why why = check_threads(error);
    if (why == REMAP_WHY_NONE)
        why = check_mapping((uintptr_t)code, (uintptr_t)code + skip + JUMP_SIZE, error);
    if (why != REMAP_WHY_NONE)
        return why;
    /* On aarch64 code without a landing gets none: then nothing lands there but direct calls. */
    unsigned char jump[JUMP_SIZE];
    make_jump(jump, (uintptr_t)target);
    k_sigset all = ~(k_sigset)0; /* a handler might call mremap() half way */
    k_sigset saved;
    *error = k_sigprocmask(SIG_SETMASK, &all, &saved);
    if (!k_failed(*error)) {
        *error = overwrite(code + skip, jump, sizeof(jump));
        k_sigprocmask(SIG_SETMASK, &saved, NULL);
    }
    return *error == 0 ? REMAP_WHY_NONE : REMAP_WHY_WRITE;
}
