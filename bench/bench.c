/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Linux 6.8; Debian 12's headers are older. */
struct move_request {
    uint64_t dst;
    uint64_t src;
    uint64_t len;
    uint64_t mode;
    int64_t move;
};
#define MOVE_IOCTL     _IOWR(UFFDIO, 0x05, struct move_request)
#define MOVE_FEATURE   (UINT64_C(1) << 16)
#define USER_MODE_ONLY 1

#define PAGE ((size_t)4096)
/* Free address space above a reservation: the kernel takes the highest hole that fits. */
#define HEADROOM ((size_t)8 << 30)

uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

_Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

uint64_t draw(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

long raw_mremap(void *old, size_t old_bytes, size_t new_bytes, int flags, void *target)
{
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = flags;
    register void *r8 __asm__("r8") = target;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_mremap), "D"(old), "S"(old_bytes), "d"(new_bytes), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = SYS_mremap;
    register void *x0 __asm__("x0") = old;
    register size_t x1 __asm__("x1") = old_bytes;
    register size_t x2 __asm__("x2") = new_bytes;
    register long x3 __asm__("x3") = flags;
    register void *x4 __asm__("x4") = target;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return (long)x0;
#else
#error "write raw_mremap() for this architecture"
#endif
}

static long raw_userfaultfd(long flags)
{
#if defined(__x86_64__)
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_userfaultfd), "D"(flags)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = SYS_userfaultfd;
    register long x0 __asm__("x0") = flags;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8) : "memory");
    return x0;
#endif
}

static int by_value(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;

    return (*x > *y) - (*x < *y);
}

double percentile(double *values, size_t count, double p)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof *values, by_value);
    return values[(size_t)(p * (double)(count - 1) + 0.5)];
}

double median(double *values, size_t count)
{
    return percentile(values, count, 0.5);
}

const char *show_ns(char *buffer, double ns)
{
    if (ns < 1e3)
        snprintf(buffer, 32, "%.0f ns", ns);
    else if (ns < 1e6)
        snprintf(buffer, 32, "%.2f us", ns / 1e3);
    else
        snprintf(buffer, 32, "%.2f ms", ns / 1e6);
    return buffer;
}

char *map_reserved(size_t length)
{
    size_t all = length + 3 * HUGE;
    char *start =
        mmap(NULL, all + HEADROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (start == MAP_FAILED)
        die("mmap");
    if (munmap(start + all, HEADROOM))
        die("munmap");
    return start + HUGE + (HUGE - (uintptr_t)start % HUGE) % HUGE;
}

static char *map_advised(size_t length, int advice)
{
    char *start = map_reserved(length);

    if (mmap(start, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == MAP_FAILED)
        die("mmap");
    if (madvise(start, length, advice) && errno != EINVAL) /* EINVAL: a kernel without huge pages */
        die("madvise");
    return start;
}

char *map_small_pages(size_t length)
{
    return map_advised(length, MADV_NOHUGEPAGE);
}

char *map_huge_pages(size_t length)
{
    return map_advised(length, MADV_HUGEPAGE);
}

void fill_pages(char *start, size_t length, uint64_t seed)
{
    for (size_t at = 0; at < length; at += PAGE)
        *(uint64_t *)(void *)(start + at) = (seed + at) * 0x9e3779b97f4a7c15u + 1;
}

size_t wrong_pages(const char *start, size_t length, uint64_t seed)
{
    size_t wrong = 0;

    for (size_t at = 0; at < length; at += PAGE)
        wrong +=
            *(const uint64_t *)(const void *)(start + at) != (seed + at) * 0x9e3779b97f4a7c15u + 1;
    return wrong;
}

unsigned long huge_kib(const char *start, size_t length)
{
    char line[512];
    unsigned long total = 0;
    bool inside = false;
    FILE *smaps = fopen("/proc/self/smaps", "re");

    if (!smaps)
        die("/proc/self/smaps");
    while (fgets(line, sizeof line, smaps)) {
        uintptr_t from, to;
        unsigned long kib;

        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            inside = from < (uintptr_t)start + length && to > (uintptr_t)start;
        else if (inside && sscanf(line, "AnonHugePages: %lu", &kib) == 1)
            total += kib;
    }
    fclose(smaps);
    return total;
}

unsigned count_vmas(uintptr_t start, uintptr_t end)
{
    char line[512];
    unsigned count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");

    if (!maps)
        die("/proc/self/maps");
    while (fgets(line, sizeof line, maps)) {
        uintptr_t from, to;

        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2 && from < end && to > start)
            count++;
    }
    fclose(maps);
    return count;
}

int uffd_open(void)
{
    struct uffdio_api api = {.api = UFFD_API, .features = MOVE_FEATURE};
    /* Not through syscall(): the shim would take it for the program's, and test each source. */
    int uffd = (int)raw_userfaultfd(O_CLOEXEC | USER_MODE_ONLY);

    if (uffd < 0)
        return -1;
    if (ioctl(uffd, UFFDIO_API, &api)) {
        close(uffd);
        return -1;
    }
    return uffd;
}

void uffd_register(int uffd, char *start, size_t length)
{
    struct uffdio_register request = {
        .range = {.start = (uintptr_t)start, .len = length},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };

    if (ioctl(uffd, UFFDIO_REGISTER, &request))
        die("UFFDIO_REGISTER");
}

void uffd_unregister(int uffd, char *start, size_t length)
{
    struct uffdio_range request = {.start = (uintptr_t)start, .len = length};

    if (ioctl(uffd, UFFDIO_UNREGISTER, &request))
        die("UFFDIO_UNREGISTER");
}

void uffd_move(int uffd, char *target, char *source, size_t length)
{
    struct move_request request = {0};

    for (size_t done = 0; done < length; done += (size_t)(request.move > 0 ? request.move : 0)) {
        request.dst = (uintptr_t)target + done;
        request.src = (uintptr_t)source + done;
        request.len = length - done;
        request.move = 0;
        if (ioctl(uffd, MOVE_IOCTL, &request) && errno != EAGAIN)
            die("UFFDIO_MOVE");
    }
}

bool shim_statistics(struct remap_stats *stats)
{
    int (*statistics)(struct remap_stats *, size_t);
    void *symbol = dlsym(RTLD_DEFAULT, "remap_statistics");

    memcpy(&statistics, &symbol, sizeof statistics); /* ISO C knows no such cast */
    return symbol && statistics(stats, sizeof *stats) == 0;
}
