/* SPDX-License-Identifier: MIT */
#include "redirect.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

#include "kernel.h"
#include "page_size.h"
#include "process.h"
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

/*
 * The first instruction stays: uprobes (perf, bpftrace) put a breakpoint on it, execute what the
 * *file* has there out of line, and go on behind it. It is endbr64, or it makes the frame, which
 * the entry below takes back.
 */
__attribute__((used, visibility("hidden"))) long redirect_frame;
__attribute__((used, visibility("hidden"))) uintptr_t redirect_target;
void redirect_entry(void);
__asm__(".text\n"
        ".type redirect_entry, @function\n"
        ".hidden redirect_entry\n"
        ".globl redirect_entry\n"
        "redirect_entry:\n"
        "    endbr64\n"
        "    addq redirect_frame(%rip), %rsp\n"
        "    jmpq *redirect_target(%rip)\n"
        ".size redirect_entry, . - redirect_entry\n");

/* How many bytes stay, and where the jump behind them has to go for `target`. */
static size_t keep_first(const unsigned char code[LANDING_SIZE], uintptr_t target, uintptr_t *to)
{
    *to = target;
    if (__builtin_memcmp(code, landing, LANDING_SIZE) == 0)
        return LANDING_SIZE;
    /* sub $imm8, %rsp: 4 bytes as well. */
    if (code[0] != 0x48 || code[1] != 0x83 || code[2] != 0xec || code[3] > 0x7f)
        return 0;
    redirect_frame = code[3];
    redirect_target = target;
    *to = (uintptr_t)&redirect_entry;
    return 4;
}

/* A jump or a breakpoint: someone else was here first. */
static bool is_taken(const unsigned char *code)
{
    /* A breakpoint anywhere in what is to be overwritten will be taken away again, and what it
     * stood for put back. */
    for (size_t i = 0; i < JUMP_SIZE; i++) {
        if (code[i] == 0xcc)
            return true;
    }
    return code[0] == 0xe9 || code[0] == 0xeb || (code[0] == 0xff && code[1] == 0x25);
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

/* What stays, as above. (Where there is no landing gate nothing can: a uprobe at the entry that is
 * set afterwards breaks the jump.) */
static size_t keep_first(const unsigned char code[LANDING_SIZE], uintptr_t target, uintptr_t *to)
{
    *to = target;
    return __builtin_memcmp(code, landing, LANDING_SIZE) == 0 ? LANDING_SIZE : 0;
}

/* b, an indirect jump as ours, or a breakpoint anywhere in what is to be overwritten: someone else
 * was here first. */
static bool is_taken(const unsigned char *code)
{
    for (size_t i = 0; i < JUMP_SIZE; i += 4) {
        if (code[i + 3] == 0xd4 && (code[i + 2] & 0xe0) == 0x20)
            return true;
    }
    return (code[3] & 0xfc) == 0x14 || (code[3] == 0x58 && (code[0] & 0x1f) == 16);
}
#endif

/* glibc's mremap(). */
struct place {
    unsigned char *code;
    size_t size;            /* bytes */
    const char *file;       /* that it is mapped from */
    const ElfW(Ehdr) * elf; /* as mapped */
    struct vma text;        /* the mapping that holds it */
};

/* False: this is not glibc, or it has none. */
static bool find(struct place *p)
{
    Dl_info info;
    ElfW(Sym) *symbol = NULL;
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    if (!libc)
        return false;
    p->code = dlsym(libc, "gnu_get_libc_version") ? dlsym(libc, "mremap") : NULL;
    dlclose(libc); /* it stays: we depend on it */
    if (!p->code || !dladdr1(p->code, &info, (void **)&symbol, RTLD_DL_SYMENT) || !symbol ||
        info.dli_saddr != p->code)
        return false;
    p->size = symbol->st_size;
    p->file = info.dli_fname;
    p->elf = info.dli_fbase;
    return true;
}

static bool contains_the_call(const unsigned char *code, size_t size)
{
    for (size_t i = 0; i + sizeof(makes_call) <= size; i++) {
        if (__builtin_memcmp(code + i, makes_call, sizeof(makes_call)) == 0)
            return true;
    }
    return false;
}

/* The mapping allows no write, and may be changed: 0, or why not. */
static enum remap_why check_mapping(struct place *p, size_t size, long *error)
{
    uintptr_t start = (uintptr_t)p->code;
    long fd = k_openat(AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    *error = fd;
    if (k_failed(fd))
        return REMAP_WHY_WRITE;
    *error = vma_at((int)fd, false, start, &p->text);
    k_close((int)fd);
    if (*error != 0)
        return REMAP_WHY_WRITE;
    if (p->text.prot != (PROT_READ | PROT_EXEC) || !p->text.has_file || p->text.end < start + size)
        return REMAP_WHY_CODE;
    /* The protection that it has: changes nothing, but a sealed mapping (mseal(2), Linux 6.10)
     * refuses even that. /proc/self/mem would not. */
    uintptr_t page = start & ~((uintptr_t)page_size() - 1);
    *error = k_mprotect(page, page_align(start + size - page), p->text.prot);
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
    /* Is this really our memory? (Another file may be mounted there; an emulator's addresses are
     * not the host's.) */
    unsigned char seen[sizeof(old)];
    long ret = k_pread((int)fd, seen, size, (uintptr_t)at);
    if (!k_failed(ret) && (ret != (long)size || __builtin_memcmp(seen, old, size) != 0))
        ret = -EIO;
    if (ret == (long)size)
        ret = k_pwrite((int)fd, old, size, (uintptr_t)at);
    if (ret == (long)size)
        ret = k_pwrite((int)fd, bytes, size, (uintptr_t)at);
    k_close((int)fd);
    if (k_failed(ret))
        return ret;
    return ret == (long)size && __builtin_memcmp(at, bytes, size) == 0 ? 0 : -EIO;
}

/* Where in the file the mapping begins; -1: it is not as the program headers say. */
static int64_t offset_of(const struct place *p)
{
    const ElfW(Phdr) *header = (const ElfW(Phdr) *)((const char *)p->elf + p->elf->e_phoff);
    uintptr_t mask = ~((uintptr_t)page_size() - 1);
    for (int i = 0; i < p->elf->e_phnum; i++, header++) {
        uintptr_t start = ((uintptr_t)p->elf + header->p_vaddr) & mask;
        if (header->p_type == PT_LOAD && p->text.start >= start &&
            p->text.end <= page_align(start + header->p_filesz + page_size()))
            return (int64_t)((header->p_offset & mask) + (p->text.start - start));
    }
    return -1;
}

/*
 * Where /proc/self/mem refuses (Linux can be set up so since 6.12, and Debian's 7.3 is): the whole
 * of libc's code is mapped once more, out of the way, changed there, and moved over itself. Nothing
 * has changed until that one step; that all of it is mapped anew keeps it one VMA. 0 or a negative
 * errno; -EEXIST: the code is not as in the file, somebody has changed it.
 */
static long replace(const struct place *p, unsigned char *at, const unsigned char *bytes,
                    size_t size)
{
    size_t length = p->text.end - p->text.start;
    int64_t offset = offset_of(p);
    if (offset < 0)
        return -EINVAL;
    long fd = k_openat(AT_FDCWD, p->file, O_RDONLY | O_CLOEXEC, 0);
    if (k_failed(fd))
        return fd;
    long ret = k_mmap_file(length, PROT_READ | PROT_WRITE, (int)fd, (uint64_t)offset);
    k_close((int)fd);
    if (k_failed(ret))
        return ret;
    unsigned char *copy = (unsigned char *)(uintptr_t)ret;
    ret = -EEXIST;
    if (memcmp(copy, (const void *)p->text.start, length) == 0) {
        __builtin_memcpy(copy + ((uintptr_t)at - p->text.start), bytes, size);
        ret = k_mprotect((uintptr_t)copy, length, p->text.prot);
    }
    if (!k_failed(ret))
        ret = k_mremap((uintptr_t)copy, length, length, K_MREMAP_MAYMOVE | K_MREMAP_FIXED,
                       p->text.start);
    if (k_failed(ret))
        k_munmap((uintptr_t)copy, length);
    return k_failed(ret) ? ret : 0;
}

enum remap_why redirect_install(void *(*target)(void *, unsigned long, unsigned long, int, ...),
                                long *error)
{
    struct place p;
    *error = 0;
    if (!find(&p))
        return REMAP_WHY_LIBC;
    uintptr_t to = 0;
    size_t skip = p.size >= LANDING_SIZE ? keep_first(p.code, (uintptr_t)target, &to) : 0;
    if (p.size < LANDING_SIZE + JUMP_SIZE || is_taken(p.code + skip) ||
        !contains_the_call(p.code, p.size))
        return REMAP_WHY_CODE;
    long threads = process_threads();
    if (k_failed(threads)) {
        *error = threads;
        return REMAP_WHY_PROC;
    }
    if (threads != 1)
        return REMAP_WHY_THREADS;
    enum remap_why why = check_mapping(&p, skip + JUMP_SIZE, error);
    if (why != REMAP_WHY_NONE)
        return why;
    unsigned char jump[JUMP_SIZE];
    make_jump(jump, to);
    k_sigset all = ~(k_sigset)0; /* a handler might call mremap() half way */
    k_sigset saved;
    *error = k_sigprocmask(SIG_SETMASK, &all, &saved);
    if (k_failed(*error))
        return REMAP_WHY_WRITE;
    *error = overwrite(p.code + skip, jump, sizeof(jump));
    if (*error != 0)
        *error = replace(&p, p.code + skip, jump, sizeof(jump));
    k_sigprocmask(SIG_SETMASK, &saved, NULL);
    if (*error == -EEXIST) {
        *error = 0;
        return REMAP_WHY_CODE;
    }
    return *error == 0 ? REMAP_WHY_NONE : REMAP_WHY_WRITE;
}
