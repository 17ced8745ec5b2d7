/* SPDX-License-Identifier: MIT */
/*
 * Makes mappings of a known kind, on demand: each line on standard input is a command with a
 * number, and is answered with "ok" when the mappings are there. Ends with the input.
 *
 *   threads N    threads that wait, each with a stack and a guard page
 *   arenas N     as many arenas of malloc beside the main one (once, before threads)
 *   chunks N     blocks of malloc of 1 MiB, with different attributes by turns
 *   anonymous N  pages of anonymous memory, with a page without access between them
 *   files N      mappings of the program's own file
 *   shared N     shared anonymous memory and memfd, by turns
 */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE ((size_t)4096)
/* Sizes are odd, so that nothing else has them. */
#define STACK ((size_t)272 * 1024)
#define CHUNK ((size_t)1 << 20)

static sem_t ready;
static size_t block; /* that each thread allocates; 0 for none */

static void need(int good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(1);
}

static char *map(size_t size, int protection, int flags, int fd)
{
    char *p = mmap(NULL, size, protection, flags, fd, 0);

    need(p != MAP_FAILED, "mmap");
    return p;
}

static void *wait_for_ever(void *arg)
{
    char *volatile p = block ? malloc(block) : NULL;

    (void)arg;
    if (p)
        memset(p, 1, block);
    sem_post(&ready);
    for (;;)
        pause();
    return NULL;
}

static void threads(size_t n)
{
    pthread_attr_t attributes;
    pthread_t id;

    pthread_attr_init(&attributes);
    need(pthread_attr_setstacksize(&attributes, STACK) == 0, "pthread_attr_setstacksize");
    for (size_t i = 0; i < n; i++) {
        need(pthread_create(&id, &attributes, wait_for_ever, NULL) == 0, "pthread_create");
        while (sem_wait(&ready) != 0)
            ;
    }
}

/* Each new thread takes an arena of its own, until there are as many as may be. */
static void arenas(size_t n)
{
    need(mallopt(M_ARENA_MAX, (int)n + 1), "mallopt");
    block = 1000;
    threads(n);
    block = 0;
}

static void chunks(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *volatile p = malloc(CHUNK);
        need(p != NULL, "malloc");
        memset(p, 1, PAGE);
        /* The block begins in the first page of its mapping. */
        need(madvise((void *)((uintptr_t)p & ~(uintptr_t)(PAGE - 1)), CHUNK + PAGE,
                     i % 2 ? MADV_DONTDUMP : MADV_DODUMP) == 0,
             "madvise");
    }
}

static void anonymous(size_t n)
{
    char *p = map((2 * n + 1) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

    for (size_t i = 0; i < n; i++)
        need(mprotect(p + (2 * i + 1) * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
}

static void files(size_t n)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    need(fd >= 0, "open");
    for (size_t i = 0; i < n; i++)
        map(PAGE, PROT_READ, i % 2 ? MAP_SHARED : MAP_PRIVATE, fd);
    close(fd);
}

static void shared(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int fd = i % 2 ? memfd_create("scene", MFD_CLOEXEC) : -1;
        need(fd < 0 || ftruncate(fd, (off_t)PAGE) == 0, "ftruncate");
        map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd);
    }
}

int main(void)
{
    static const struct {
        const char *name;
        void (*make)(size_t n);
    } commands[] = {{"threads", threads},     {"arenas", arenas}, {"chunks", chunks},
                    {"anonymous", anonymous}, {"files", files},   {"shared", shared}};
    char line[64], name[64];
    size_t n;

    sem_init(&ready, 0, 0);
    /* The buffer of standard input is there before anything is counted. */
    puts("ok");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin) && sscanf(line, "%63s %zu", name, &n) == 2) {
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
            if (strcmp(commands[i].name, name) == 0)
                commands[i].make(n);
        }
        puts("ok");
        fflush(stdout);
    }
    return 0;
}
