/* SPDX-License-Identifier: MIT */
#include "java_answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The names under which native memory tracking counts. */
static enum kind kind_of_tag(const char *tag)
{
    static const struct {
        const char *tag;
        enum kind kind;
    } known[] = {
        {"Java Heap", KIND_JAVA_HEAP}, {"Code", KIND_JAVA_CODE},
        {"Class", KIND_JAVA_CLASSES},  {"Metaspace", KIND_JAVA_CLASSES},
        {"GC", KIND_JAVA_GC},          {"Shared class space", KIND_JAVA_CLASSES},
        {"Thread Stack", KIND_STACKS}, {"GCCardSet", KIND_JAVA_GC},
    };
    size_t len = strlen(tag);

    if (len > 5 && strcmp(tag + len - 5, " from") == 0)
        len -= 5;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strlen(known[i].tag) == len && memcmp(known[i].tag, tag, len) == 0)
            return known[i].kind;
    }
    return KIND_JAVA_OTHER;
}

/* "[0x... - 0x...] reserved and committed 4096 for GC from"; the lines about what is committed in
 * it and from where begin with blanks. */
void java_answer_native_memory(struct java_answer *a, const char *line)
{
    uint64_t start, end;
    const char *tag;

    if (sscanf(line, "[0x%" SCNx64 " - 0x%" SCNx64 "] reserved", &start, &end) != 2)
        return;
    tag = strstr(line, " for ");
    if (tag)
        spans_add(a->spans, start, end, kind_of_tag(tag + strlen(" for ")));
}

/* "0xA, 0xB, 0xC": adds the range from the first to the last of them. */
static void add_bounds(struct java_answer *a, const char *text, enum kind kind)
{
    uint64_t first = 0, last = 0, at;
    int count = 0, used;

    while (count < 3 && sscanf(text, " 0x%" SCNx64 "%n", &at, &used) == 1) {
        first = count++ ? first : at;
        last = at;
        text += used;
        if (*text != ',' && *text != '-')
            break;
        text++;
    }
    if (count > 1)
        spans_add(a->spans, first, last, kind);
}

/* The bounds behind `mark`. */
static bool add_behind(struct java_answer *a, const char *line, const char *mark, enum kind kind)
{
    const char *at = strstr(line, mark);

    if (at)
        add_bounds(a, at + strlen(mark), kind);
    return at != NULL;
}

void java_answer_info(struct java_answer *a, const char *line)
{
    uint64_t start, megabytes;

    if (sscanf(line, "Heap address: 0x%" SCNx64 ", size: %" SCNu64 " MB", &start, &megabytes) ==
            2 &&
        megabytes < UINT64_C(1) << 43) {
        if (start + (megabytes << 20) > start)
            spans_add(a->spans, start, start + (megabytes << 20), KIND_JAVA_HEAP);
    } else if (strcmp(line, "Heap:") == 0) {
        a->heap = true;
    } else if (!*line || strncmp(line, " Metaspace", 10) == 0) {
        a->heap = false;
    } else if (a->heap) {
        add_behind(a, line, "[", KIND_JAVA_HEAP);
    } else if (!add_behind(a, line, "Compressed class space mapped at: ", KIND_JAVA_CLASSES) &&
               !add_behind(a, line, "mapped at: [", KIND_JAVA_CLASSES) &&
               !add_behind(a, line, " bounds [", KIND_JAVA_CODE) &&
               !add_behind(a, line, "byte_map: [", KIND_JAVA_GC) &&
               !add_behind(a, line, " Bits: [", KIND_JAVA_GC) &&
               !add_behind(a, line, " Bits:   [", KIND_JAVA_GC) &&
               !add_behind(a, line, "stack(", KIND_STACKS)) {
        add_behind(a, line, "[stack: ", KIND_STACKS);
    }
}
