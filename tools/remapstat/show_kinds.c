/* SPDX-License-Identifier: MIT */
#include "show_kinds.h"

#include <inttypes.h>
#include <stdio.h>

#include "display.h"
#include "table.h"

static void row(struct table *t, const char *kind, uint64_t vmas, uint64_t bytes, uint64_t limit,
                const char *help)
{
    char number[DISPLAY_UNIT], percent[DISPLAY_UNIT], size[DISPLAY_UNIT];

    snprintf(number, sizeof(number), "%" PRIu64, vmas);
    snprintf(percent, sizeof(percent), "%.1f", 100.0 * (double)vmas / (double)limit);
    table_row(t, (const char *[]){kind, number, limit ? percent : NULL, display_bytes(size, bytes),
                                  help});
}

static void show_java_source(enum java_source source)
{
    static const char *const texts[JAVA_SOURCES] = {
        [JAVA_LAYOUT] =
            "The parts of the JVM are told by how JVMs lay out their memory; --jvm asks it.",
        [JAVA_INFO] =
            "The JVM was asked, and told of heap, code and classes; it knows more if it runs\n"
            "with -XX:NativeMemoryTracking=detail.",
        [JAVA_NMT] = "The parts of the JVM are from its native memory tracking."};

    if (texts[source])
        puts(texts[source]);
}

void show_kinds(const struct kinds *k, uint64_t limit)
{
    static const struct column columns[] = {{.name = "KIND"},
                                            {.name = "VMAS", .flags = COLUMN_RIGHT},
                                            {.name = "%LIMIT", .flags = COLUMN_RIGHT},
                                            {.name = "SIZE", .flags = COLUMN_RIGHT},
                                            {.name = "MEANING", .flags = COLUMN_WRAP}};
    const struct selection all = selection_all(5);
    struct table *t = table_new(stdout, columns, &all, false);
    enum kind order[KIND_COUNT];
    size_t count = kinds_order(k, order);

    for (size_t i = 0; i < count; i++)
        row(t, kind_keys[order[i]], k->of[order[i]].vmas, k->of[order[i]].bytes, limit,
            kind_help[order[i]]);
    row(t, "total", k->total.vmas, k->total.bytes, limit, "against vm.max_map_count");
    table_print(t);
    show_java_source(k->java);
    if (!k->headers)
        puts("Its memory may not be read (that takes the rights of a debugger): large blocks of "
             "malloc\ncount as anonymous memory.");
}
