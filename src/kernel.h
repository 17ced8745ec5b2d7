/* SPDX-License-Identifier: MIT */
/*
 * The kernel layer: the one place that knows system call numbers and kernel structs.
 *
 * Every function is a raw system call: it cannot be interposed (not even by us), does not touch
 * errno, is async-signal-safe, and returns what the kernel returned: a value, or a negative errno.
 *
 * Structs and numbers newer than the oldest supported kernel headers (Linux 6.1, Debian 12) are
 * defined here under names of our own, with the release that brought them.
 */
#ifndef REMAP_KERNEL_H
#define REMAP_KERNEL_H

#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

/* mremap(2). 1, 2 and 4 are in every kernel since 5.7; 8 and 16 in none that was released. */
#define K_MREMAP_MAYMOVE   1ul
#define K_MREMAP_FIXED     2ul
#define K_MREMAP_DONTUNMAP 4ul
#define K_MREMAP_RELOCATE  8ul
#define K_MREMAP_MUST      16ul

/* PROCMAP_QUERY of /proc/PID/maps, Linux 6.11. */
struct k_procmap_query {
    uint64_t size;
    uint64_t query_flags;
    uint64_t query_addr;
    uint64_t vma_start;
    uint64_t vma_end;
    uint64_t vma_flags;
    uint64_t vma_page_size;
    uint64_t vma_offset;
    uint64_t inode;
    uint32_t dev_major;
    uint32_t dev_minor;
    uint32_t vma_name_size;
    uint32_t build_id_size;
    uint64_t vma_name_addr;
    uint64_t build_id_addr;
};
#define K_PROCMAP_QUERY            _IOWR('f', 17, struct k_procmap_query)
#define K_PROCMAP_READABLE         1u
#define K_PROCMAP_WRITABLE         2u
#define K_PROCMAP_EXECUTABLE       4u
#define K_PROCMAP_SHARED           8u
#define K_PROCMAP_COVERING_OR_NEXT 16u

/* PAGEMAP_SCAN of /proc/PID/pagemap, Linux 6.7. */
struct k_page_region {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
};
struct k_pagemap_scan {
    uint64_t size;
    uint64_t flags;
    uint64_t start;
    uint64_t end;
    uint64_t walk_end;
    uint64_t vec;
    uint64_t vec_len;
    uint64_t max_pages;
    uint64_t category_inverted;
    uint64_t category_mask;
    uint64_t category_anyof_mask;
    uint64_t return_mask;
};
#define K_PAGEMAP_SCAN    _IOWR('f', 16, struct k_pagemap_scan)
#define K_PAGE_IS_PRESENT (1u << 3)
#define K_PAGE_IS_SWAPPED (1u << 4)
#define K_PAGE_IS_PFNZERO (1u << 5)
#define K_PAGE_IS_HUGE    (1u << 6)

/* /proc/PID/pagemap entries (Documentation/admin-guide/mm/pagemap.rst). */
#define K_PAGEMAP_EXCLUSIVE (1ull << 56)
#define K_PAGEMAP_GUARD     (1ull << 58) /* MADV_GUARD_INSTALL, Linux 6.15 */
#define K_PAGEMAP_SWAPPED   (1ull << 62)
#define K_PAGEMAP_PRESENT   (1ull << 63)

/* UFFDIO_MOVE, Linux 6.8. */
struct k_uffdio_move {
    uint64_t dst;
    uint64_t src;
    uint64_t len;
    uint64_t mode;
    int64_t move; /* out: bytes moved, or a negative errno */
};
#define K_UFFDIO_MOVE         _IOWR(0xAA, 0x05, struct k_uffdio_move)
#define K_UFFD_FEATURE_MOVE   (1ull << 16)
#define K_UFFD_USER_MODE_ONLY 1 /* userfaultfd(2), Linux 5.11 */

#define K_MADV_POPULATE_WRITE  23 /* Linux 5.14 */
#define K_MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#define K_MADV_COLLAPSE        25 /* Linux 6.1 */

#if defined(__x86_64__)
static inline long k_syscall6(long n, long a, long b, long c, long d, long e, long f)
{
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
#elif defined(__aarch64__)
static inline long k_syscall6(long n, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}
#else
#error "remap supports x86-64 and aarch64"
#endif

static inline bool k_failed(long ret)
{
    return (unsigned long)ret > -4096ul;
}

/*
 * mremap(2) has five arguments. The sixth register carries this in our own calls: the seccomp
 * filter of REMAP_CATCH=trap lets them pass.
 */
#define K_MREMAP_MARKER 0x72656d6170ull

/* A caller in assembly does not set that register: what we leave in it would let its call pass. */
static inline void k_forget_marker(void)
{
#if defined(__x86_64__)
    __asm__ volatile("xorl %%r9d, %%r9d" : : : "r9", "cc");
#elif defined(__aarch64__)
    __asm__ volatile("mov x5, #0" : : : "x5");
#endif
}

static inline long k_mremap(uintptr_t addr, size_t old_len, size_t new_len, unsigned long flags,
                            uintptr_t dst)
{
    long ret = k_syscall6(SYS_mremap, (long)addr, (long)old_len, (long)new_len, (long)flags,
                          (long)dst, K_MREMAP_MARKER);
    k_forget_marker();
    return ret;
}

static inline long k_pwrite(int fd, const void *buf, size_t size, uintptr_t offset)
{
    return k_syscall6(SYS_pwrite64, fd, (long)buf, (long)size, (long)offset, 0, 0);
}

static inline long k_mmap(uintptr_t addr, size_t len, int prot, int flags, int fd)
{
    return k_syscall6(SYS_mmap, (long)addr, (long)len, prot, flags, fd, 0);
}

/* A private mapping of a file, where the kernel likes. */
static inline long k_mmap_file(size_t len, int prot, int fd, uint64_t offset)
{
    return k_syscall6(SYS_mmap, 0, (long)len, prot, MAP_PRIVATE, fd, (long)offset);
}

/* A reservation: address space only, no memory, no commit charge. Returns its address. */
static inline long k_reserve(uintptr_t addr, size_t len, int extra_flags)
{
    return k_mmap(addr, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | extra_flags,
                  -1);
}

static inline long k_munmap(uintptr_t addr, size_t len)
{
    return k_syscall6(SYS_munmap, (long)addr, (long)len, 0, 0, 0, 0);
}

static inline long k_mprotect(uintptr_t addr, size_t len, int prot)
{
    return k_syscall6(SYS_mprotect, (long)addr, (long)len, prot, 0, 0, 0);
}

static inline long k_madvise(uintptr_t addr, size_t len, int advice)
{
    return k_syscall6(SYS_madvise, (long)addr, (long)len, advice, 0, 0, 0);
}

static inline long k_msync(uintptr_t addr, size_t len, int flags)
{
    return k_syscall6(SYS_msync, (long)addr, (long)len, flags, 0, 0, 0);
}

static inline long k_mlock2(uintptr_t addr, size_t len, int flags)
{
    return k_syscall6(SYS_mlock2, (long)addr, (long)len, flags, 0, 0, 0);
}

static inline long k_ioctl(int fd, unsigned long request, void *arg)
{
    return k_syscall6(SYS_ioctl, fd, (long)request, (long)arg, 0, 0, 0);
}

static inline long k_openat(int dirfd, const char *path, int flags, unsigned mode)
{
    return k_syscall6(SYS_openat, dirfd, (long)path, flags, (long)mode, 0, 0);
}

static inline long k_close(int fd)
{
    return k_syscall6(SYS_close, fd, 0, 0, 0, 0, 0);
}

static inline long k_read(int fd, void *buf, size_t len)
{
    return k_syscall6(SYS_read, fd, (long)buf, (long)len, 0, 0, 0);
}

static inline long k_pread(int fd, void *buf, size_t len, uint64_t offset)
{
    return k_syscall6(SYS_pread64, fd, (long)buf, (long)len, (long)offset, 0, 0);
}

static inline long k_write(int fd, const void *buf, size_t len)
{
    return k_syscall6(SYS_write, fd, (long)buf, (long)len, 0, 0, 0);
}

/* Of memory that may not be there: what can be read, or -EFAULT. The process may be ourselves. */
static inline long k_process_vm_readv(long pid, const struct iovec *to, const struct iovec *from,
                                      size_t count)
{
    return k_syscall6(SYS_process_vm_readv, pid, (long)to, 1, (long)from, (long)count, 0);
}

static inline long k_fcntl(int fd, int cmd, long arg)
{
    return k_syscall6(SYS_fcntl, fd, cmd, arg, 0, 0, 0);
}

static inline long k_flock(int fd, int op)
{
    return k_syscall6(SYS_flock, fd, op, 0, 0, 0, 0);
}

/* glibc's struct stat is the kernel's on the 64-bit targets supported here. */
static inline long k_fstat(int fd, struct stat *st)
{
    return k_syscall6(SYS_fstat, fd, (long)st, 0, 0, 0, 0);
}

static inline long k_fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
    return k_syscall6(SYS_newfstatat, dirfd, (long)path, (long)st, flags, 0, 0);
}

static inline long k_mkdirat(int dirfd, const char *path, unsigned mode)
{
    return k_syscall6(SYS_mkdirat, dirfd, (long)path, (long)mode, 0, 0, 0);
}

static inline long k_unlinkat(int dirfd, const char *path, int flags)
{
    return k_syscall6(SYS_unlinkat, dirfd, (long)path, flags, 0, 0, 0);
}

static inline long k_readlinkat(int dirfd, const char *path, char *buf, size_t len)
{
    return k_syscall6(SYS_readlinkat, dirfd, (long)path, (long)buf, (long)len, 0, 0);
}

/* linux_dirent64 records: d_ino 8, d_off 8, d_reclen 2, d_type 1, d_name. */
static inline long k_getdents64(int fd, void *buf, size_t len)
{
    return k_syscall6(SYS_getdents64, fd, (long)buf, (long)len, 0, 0, 0);
}

static inline long k_sigaltstack(const stack_t *set, stack_t *old)
{
    return k_syscall6(SYS_sigaltstack, (long)(uintptr_t)set, (long)(uintptr_t)old, 0, 0, 0, 0);
}

static inline long k_getpid(void)
{
    return k_syscall6(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

static inline long k_geteuid(void)
{
    return k_syscall6(SYS_geteuid, 0, 0, 0, 0, 0, 0);
}

static inline long k_uname(void *utsname)
{
    return k_syscall6(SYS_uname, (long)utsname, 0, 0, 0, 0, 0);
}

static inline long k_sysinfo(void *info)
{
    return k_syscall6(SYS_sysinfo, (long)info, 0, 0, 0, 0, 0);
}

static inline long k_userfaultfd(int flags)
{
    return k_syscall6(SYS_userfaultfd, flags, 0, 0, 0, 0, 0);
}

/* The kernel's signal set: 64 signals, and unlike libc's wrapper it blocks libc's own too. */
typedef uint64_t k_sigset;

static inline long k_sigprocmask(int how, const k_sigset *set, k_sigset *old)
{
    return k_syscall6(SYS_rt_sigprocmask, how, (long)set, (long)old, (long)sizeof(k_sigset), 0, 0);
}

static inline long k_sigpending(k_sigset *set)
{
    return k_syscall6(SYS_rt_sigpending, (long)set, (long)sizeof(k_sigset), 0, 0, 0, 0);
}

static inline long k_sigtimedwait(const k_sigset *set, const struct timespec *timeout)
{
    return k_syscall6(SYS_rt_sigtimedwait, (long)set, 0, (long)timeout, (long)sizeof(k_sigset), 0,
                      0);
}

static inline long k_ppoll(struct pollfd *fds, unsigned count, const struct timespec *timeout)
{
    return k_syscall6(SYS_ppoll, (long)fds, count, (long)timeout, 0, 0, 0);
}

/* struct sigaction as rt_sigaction(2) takes it. */
struct k_sigaction {
    uintptr_t handler;
    unsigned long flags;
    void (*restorer)(void);
    k_sigset mask;
};
#define K_SA_RESTORER 0x04000000ul

static inline long k_rt_sigaction(int sig, const struct k_sigaction *act, struct k_sigaction *old)
{
    return k_syscall6(SYS_rt_sigaction, sig, (long)act, (long)old, (long)sizeof(k_sigset), 0, 0);
}

static inline long k_rt_sigqueueinfo(long pid, int sig, const siginfo_t *info)
{
    return k_syscall6(SYS_rt_sigqueueinfo, pid, sig, (long)info, 0, 0, 0);
}

static inline long k_rt_tgsigqueueinfo(long pid, long tid, int sig, const siginfo_t *info)
{
    return k_syscall6(SYS_rt_tgsigqueueinfo, pid, tid, sig, (long)info, 0, 0);
}

static inline long k_gettid(void)
{
    return k_syscall6(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

static inline long k_prctl(int option, unsigned long argument)
{
    return k_syscall6(SYS_prctl, option, (long)argument, 0, 0, 0, 0);
}

static inline long k_munlock(uintptr_t addr, size_t len)
{
    return k_syscall6(SYS_munlock, (long)addr, (long)len, 0, 0, 0, 0);
}

static inline long k_futex(const volatile void *word, int op, uint32_t value)
{
    return k_syscall6(SYS_futex, (long)word, op, (long)value, 0, 0, 0);
}

static inline long k_sched_yield(void)
{
    return k_syscall6(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

static inline void k_sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    k_syscall6(SYS_nanosleep, (long)&time, 0, 0, 0, 0, 0);
}

static inline long k_prlimit(int resource, const void *new_limit, void *old_limit)
{
    return k_syscall6(SYS_prlimit64, 0, resource, (long)new_limit, (long)old_limit, 0, 0);
}

static inline uint64_t k_realtime_ns(void)
{
    struct timespec ts = {0, 0};
    k_syscall6(SYS_clock_gettime, CLOCK_REALTIME, (long)&ts, 0, 0, 0, 0);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
