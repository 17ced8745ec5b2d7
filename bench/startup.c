/* SPDX-License-Identifier: MIT */
/*
 * A process that never moves memory: under the shim against under a preload library that does
 * nothing, started in turns. Time is from before fork() to after waitpid(). Also looks whether the
 * shim left anything behind in it: descriptors, threads, a file.
 *
 * usage: bench-startup LIBREMAP EMPTY PROGRAM STATS_DIR [pairs]
 */
#include <dirent.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define FLOOR 1.1

static char preload[2][4096];
static char statistics[4096];

static double start(int which, const char *program, const char *argument)
{
    char *arguments[] = {strdup(program), argument ? strdup(argument) : NULL, NULL};
    char *environment[] = {preload[which], statistics, NULL};
    uint64_t started = now_ns();
    pid_t child;
    int status;

    if (posix_spawn(&child, program, NULL, NULL, arguments, environment))
        die(program);
    if (waitpid(child, &status, 0) != child)
        die("waitpid");
    if (status)
        die("the program did not exit with 0");
    started = now_ns() - started;
    free(arguments[0]);
    free(arguments[1]);
    return (double)started;
}

static unsigned files_in(const char *path)
{
    unsigned count = 0;
    DIR *directory = opendir(path);
    const struct dirent *entry;

    while (directory && (entry = readdir(directory)))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (directory)
        closedir(directory);
    return count;
}

int main(int argc, char **argv)
{
    size_t pairs = argc > 5 ? strtoul(argv[5], NULL, 10) : 1500;
    double *shimmed = calloc(pairs, sizeof *shimmed);
    double *empty = calloc(pairs, sizeof *empty);
    double *ratios = calloc(pairs, sizeof *ratios);
    char text[2][32];
    double ratio;

    if (argc < 5 || !shimmed || !empty || !ratios || pairs == 0) {
        fputs("usage: bench-startup LIBREMAP EMPTY PROGRAM STATS_DIR [pairs]\n", stderr);
        return 2;
    }
    snprintf(preload[0], sizeof preload[0], "LD_PRELOAD=%s", argv[1]);
    snprintf(preload[1], sizeof preload[1], "LD_PRELOAD=%s", argv[2]);
    snprintf(statistics, sizeof statistics, "REMAP_STATS_DIR=%s", argv[4]);

    for (size_t i = 0; i < pairs; i++) {
        if (i % 2)
            shimmed[i] = start(0, argv[3], NULL);
        empty[i] = start(1, argv[3], NULL);
        if (i % 2 == 0)
            shimmed[i] = start(0, argv[3], NULL);
        ratios[i] = shimmed[i] / empty[i];
    }
    ratio = median(shimmed, pairs) / median(empty, pairs);
    printf("a process that never moves memory (%zu pairs)\n", pairs);
    printf("  empty library %s, libremap %s: ratio of medians %.3f, of minima %.3f, pairs p5..p95 "
           "%.2f..%.2f, floor %.2f: %s\n",
           show_ns(text[0], median(empty, pairs)), show_ns(text[1], median(shimmed, pairs)), ratio,
           percentile(shimmed, pairs, 0) / percentile(empty, pairs, 0),
           percentile(ratios, pairs, 0.05), percentile(ratios, pairs, 0.95), FLOOR,
           ratio <= FLOOR ? "reached" : "MISSED");
    fputs("  empty:    ", stdout);
    fflush(stdout);
    start(1, argv[3], "show");
    fputs("  libremap: ", stdout);
    fflush(stdout);
    start(0, argv[3], "show");
    printf("  files left in the statistics directory: %u\n", files_in(argv[4]));
    return 0;
}
