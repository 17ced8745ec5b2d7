/* SPDX-License-Identifier: MIT */
/*
 * Many buffers that grow by realloc(), in random order: what a program does that reads from many
 * sources at once. glibc keeps buffers of this size in mappings of their own and grows them with
 * an mremap() of its own.
 *
 * usage: grow [buffers [rounds]]
 *
 * Each buffer is checked whenever it has grown, all of them at the end. Prints their size, then
 * "done", and waits for a line.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST  ((size_t)132 << 10) /* larger than M_MMAP_THRESHOLD */
#define LEAST  ((size_t)4 << 10)
#define SPREAD ((size_t)64 << 10) /* steps of many sizes: holes that others do not fill exactly */
#define WORD   sizeof(uint64_t)

struct buffer {
    uint64_t *words;
    size_t count;
};

static uint64_t state = 20;

/* A number below `below`: splitmix64. */
static size_t draw(size_t below)
{
    uint64_t x = state += 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (size_t)((x ^ (x >> 31)) % below);
}

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

/* What belongs there: no two words of any two buffers are alike. */
static uint64_t word_at(size_t buffer, size_t at)
{
    return ((uint64_t)buffer << 32 | at) * 0x9e3779b97f4a7c15u;
}

static void check(const struct buffer *buffer, size_t number)
{
    for (size_t at = 0; at < buffer->count; at++) {
        if (buffer->words[at] != word_at(number, at)) {
            printf("buffer %zu: word %zu is wrong\n", number, at);
            exit(1);
        }
    }
}

static void grow(struct buffer *buffer, size_t number, size_t bytes)
{
    size_t count = buffer->count + bytes / WORD;

    buffer->words = realloc(buffer->words, count * WORD);
    if (!buffer->words)
        die("realloc");
    check(buffer, number);
    for (size_t at = buffer->count; at < count; at++)
        buffer->words[at] = word_at(number, at);
    buffer->count = count;
}

static void shuffle(size_t *order, size_t count)
{
    for (size_t i = count - 1; i > 0; i--) {
        size_t j = draw(i + 1);
        size_t kept = order[i];

        order[i] = order[j];
        order[j] = kept;
    }
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 6;
    struct buffer *buffers = calloc(count + 1, sizeof *buffers);
    size_t *order = calloc(count + 1, sizeof *order);
    size_t total = 0;

    if (!buffers || !order || count == 0)
        die("grow");
    for (size_t i = 0; i < count; i++) {
        order[i] = i;
        grow(&buffers[i], i, FIRST);
    }
    for (unsigned long round = 0; round < rounds; round++) {
        shuffle(order, count);
        for (size_t i = 0; i < count; i++)
            grow(&buffers[order[i]], order[i], LEAST + draw(SPREAD));
    }
    for (size_t i = 0; i < count; i++) {
        check(&buffers[i], i);
        total += buffers[i].count * WORD;
    }
    printf("%zu buffers, %zu bytes\ndone\n", count, total);
    fflush(stdout);
    getchar();
    return 0;
}
