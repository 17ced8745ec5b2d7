/* SPDX-License-Identifier: MIT */
/*
 * A program that starts no others and is linked with nothing but libc: the trap may be set in it.
 * Moves a page by a system call instruction of its own, and prints one line:
 *
 *   SEEN WHY ERROR CALLS ACTION NNP DESCRIPTORS
 *
 * the first four as libremap counts for the way `trap` (all -1 without it), the action of SIGSYS (0
 * default, 1 ignored, 2 a handler), no_new_privs, the number of descriptors.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "kernel.h"
#include "remap.h"

#ifndef LINKED /* else with the library, which is not preloaded then */
#pragma weak remap_statistics
#endif

#define PAGE 4096ul

static int descriptors(void)
{
    int count = -1; /* the one that looks */
    DIR *dir = opendir("/proc/self/fd");
    for (const struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        count += e->d_name[0] != '.';
    }
    return count;
}

int main(void)
{
    struct remap_stats stats;
    struct k_sigaction action = {0};
    int before = descriptors();
    char *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        return 1;
    }
    at[0] = 7;
    long ret = k_syscall6(SYS_mremap, (long)at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
                          (long)(at + PAGE), 0);
    if (ret != (long)(at + PAGE) || at[PAGE] != 7) {
        return 1;
    }
    k_rt_sigaction(SIGSYS, NULL, &action); /* libc's would say what the program has set */
    int kind = action.handler == (uintptr_t)SIG_DFL   ? 0
               : action.handler == (uintptr_t)SIG_IGN ? 1
                                                      : 2;
    int nnp = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    int (*statistics)(struct remap_stats *, size_t) = remap_statistics;
    if (!statistics || statistics(&stats, sizeof(stats)) != 0) {
        printf("-1 -1 -1 -1 %d %d %d\n", kind, nnp, before);
        return 0;
    }
    const struct remap_stats_way *way = &stats.ways[REMAP_WAY_TRAP];
    printf("%d %d %d %d %d %d %d\n", way->seen, way->why, way->error, (int)way->calls, kind, nnp,
           before);
    return 0;
}
