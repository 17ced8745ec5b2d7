/* SPDX-License-Identifier: MIT */
/*
 * A program that reads: records arrive from many sources in pieces, are appended to the source's
 * buffer, which realloc() makes half as large again when it is full, and are taken apart as far as
 * they are complete, which is where most of the time goes.
 *
 * usage: bench-reader [sources [MiB]]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define PIECE  (16 * KIB)
#define CORPUS (4 * MIB)

struct source {
    char *text;
    size_t used;
    size_t room;
    size_t taken; /* so far the records are taken apart */
    size_t at;    /* in the corpus */
};

/* What all sources send, over and over: read() would copy it from memory of the kernel's. */
static char corpus[CORPUS + 64];
static size_t corpus_size;

static void write_corpus(void)
{
    for (unsigned n = 0; corpus_size < CORPUS; n++) {
        uint64_t value = n * 0x9e3779b97f4a7c15u >> 40;

        corpus_size += (size_t)snprintf(corpus + corpus_size, 64, "%u,%u,%s\n", n, (unsigned)value,
                                        n % 3 ? "accepted" : "refused");
    }
}

/* The next piece of a source, which ends anywhere in a record. */
static size_t receive(struct source *source, const char **piece)
{
    size_t left = corpus_size - source->at;
    size_t size = left < PIECE ? left : PIECE;

    *piece = corpus + source->at;
    source->at = size == left ? 0 : source->at + size;
    return size;
}

static void append(struct source *source, const char *piece, size_t size)
{
    if (source->room - source->used < size) {
        source->room = source->room ? source->room + source->room / 2 : 4 * PIECE;
        source->text = realloc(source->text, source->room);
        if (!source->text)
            die("realloc");
    }
    memcpy(source->text + source->used, piece, size);
    source->used += size;
}

static uint64_t take_apart(struct source *source)
{
    uint64_t sum = 0;
    char *at = source->text + source->taken;
    char *newline;

    while ((newline = memchr(at, '\n', source->used - source->taken))) {
        char *end;
        uint64_t number = strtoul(at, &end, 10);
        uint64_t value = strtoul(end + 1, &end, 10);

        sum += end[1] == 'a' ? number ^ value : value;
        at = newline + 1;
        source->taken = (size_t)(at - source->text);
    }
    return sum;
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
    size_t total = (argc > 2 ? strtoul(argv[2], NULL, 10) : 150) * MIB;
    struct source *sources = calloc(count, sizeof *sources);
    const char *piece;
    uint64_t state = 20;
    uint64_t sum = 0;

    if (!sources || count == 0)
        die("bench-reader");
    write_corpus();
    for (size_t received = 0; received < total;) {
        struct source *source = &sources[draw(&state) % count];
        size_t size = receive(source, &piece);

        append(source, piece, size);
        sum += take_apart(source);
        received += size;
    }
    /* Once more over all that has arrived. */
    for (size_t i = 0; i < count; i++) {
        for (size_t at = 0; at < sources[i].used; at++)
            sum = sum * 31 + (unsigned char)sources[i].text[at];
    }
    printf("%llu\n", (unsigned long long)sum);
    return 0;
}
