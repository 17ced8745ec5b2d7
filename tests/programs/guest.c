/* SPDX-License-Identifier: MIT */
/*
 * Linked statically, for qemu's user mode: no preloaded library sees this program's calls, but qemu
 * makes them for it, through its own mremap(). Moves pieces of memory next to each other, then
 * moves and grows some where the kernel likes. Each page is checked. Prints how many pieces there
 * are, then "done", and waits for a line.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE   ((size_t)4096)
#define PIECE  (4 * PAGE)
#define PIECES 300
#define GROWN  60

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t word_at(size_t piece, size_t at)
{
    return ((uint64_t)piece << 32 | at) * 0x9e3779b97f4a7c15u;
}

static void fill(char *start, size_t size, size_t piece)
{
    uint64_t *words = (uint64_t *)(void *)start;

    for (size_t at = 0; at < size / sizeof *words; at++)
        words[at] = word_at(piece, at);
}

static void check(const char *start, size_t size, size_t piece)
{
    const uint64_t *words = (const uint64_t *)(const void *)start;

    for (size_t at = 0; at < size / sizeof *words; at++) {
        if (words[at] != word_at(piece, at)) {
            printf("piece %zu: word %zu is wrong\n", piece, at);
            exit(1);
        }
    }
}

static char *map(size_t size, int protection)
{
    char *start = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (start == MAP_FAILED)
        die("mmap");
    return start;
}

int main(void)
{
    char *row = map(PIECES * PIECE, PROT_NONE);
    char *stage = map(PIECES * PIECE, PROT_READ | PROT_WRITE);
    char *grown[GROWN];

    /* From the end of the stage downwards: no two that end up side by side were side by side. */
    for (size_t i = 0; i < PIECES; i++) {
        char *from = stage + (PIECES - 1 - i) * PIECE;
        char *to = row + i * PIECE;

        fill(from, PIECE, i);
        if (mremap(from, PIECE, PIECE, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
            die("mremap to a fixed place");
    }
    for (size_t i = 0; i < GROWN; i++) {
        grown[i] = map(PIECE, PROT_READ | PROT_WRITE);
        fill(grown[i], PIECE, i);
    }
    for (size_t size = PIECE; size < 8 * PIECE; size *= 2) {
        for (size_t i = 0; i < GROWN; i++) {
            grown[i] = mremap(grown[i], size, 2 * size, MREMAP_MAYMOVE);
            if (grown[i] == MAP_FAILED)
                die("mremap");
            check(grown[i], size, i);
            fill(grown[i], 2 * size, i);
        }
    }
    for (size_t i = 0; i < PIECES; i++)
        check(row + i * PIECE, PIECE, i);
    for (size_t i = 0; i < GROWN; i++)
        check(grown[i], 8 * PIECE, i);
    printf("%d pieces moved, %d grown\ndone\n", PIECES, GROWN);
    fflush(stdout);
    getchar();
    return 0;
}
