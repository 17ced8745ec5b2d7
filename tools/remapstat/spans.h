/* SPDX-License-Identifier: MIT */
/*
 * Address ranges of known kinds, as a JVM tells them.
 */
#ifndef REMAPSTAT_SPANS_H
#define REMAPSTAT_SPANS_H

#include "kinds.h"
#include "mappings.h"

struct span {
    uint64_t start, end;
    enum kind kind;
};

#define SPANS_MAX (1u << 20)

struct spans {
    struct span *list;
    size_t count, room;
};

void spans_add(struct spans *s, uint64_t start, uint64_t end, enum kind kind);
void spans_free(struct spans *s);

/* A mapping has the kind that most of it has; the kernel merges mappings of several kinds. */
void label_spans(struct mappings *m, struct spans *s);

#endif
