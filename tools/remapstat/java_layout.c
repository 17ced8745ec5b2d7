/* SPDX-License-Identifier: MIT */
#include "java_layout.h"

#include "kinds.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* Compressed pointers to objects reach so far, and heaps that are not larger lie below. Nothing
 * else of a process does, other than a program that is not position-independent, which has names.
 */
#define COMPRESSED_REACH (32 * GIB)
/* The class space begins at a multiple of the first behind the archive; its size is the second
 * unless -XX:CompressedClassSpaceSize says otherwise. */
#define CLASS_ALIGNMENT (16 * MIB)
#define CLASS_SPACE     GIB
/* Metaspace is reserved in nodes of this size and committed in granules of this (JDK 16 on). */
#define META_NODE    (64 * MIB)
#define META_GRANULE (UINT64_C(64) << 10)

static bool follows(const struct mappings *m, size_t i)
{
    return i && i < m->count && m->list[i].start == m->list[i - 1].end;
}

static bool has_access(const struct mapping *m)
{
    return m->flags & MAPPING_ACCESS;
}

/* Parts of an archive are also mapped into the midst of the heap. */
static bool inside_heap(const struct mappings *m, size_t i)
{
    return follows(m, i) && follows(m, i + 1) && m->list[i].end <= COMPRESSED_REACH &&
           mapping_is_open(&m->list[i - 1]) && mapping_is_open(&m->list[i + 1]) &&
           has_access(&m->list[i + 1]);
}

/* The archive, up to the class space behind it and that space. */
static void label_class_space(struct mappings *m, size_t archive)
{
    uint64_t space = (m->list[archive].end + CLASS_ALIGNMENT - 1) & ~(CLASS_ALIGNMENT - 1);

    for (size_t i = archive + 1; follows(m, i) && m->list[i].start < space + CLASS_SPACE &&
                                 mapping_is_open(&m->list[i]) && !(m->list[i].flags & MAPPING_EXEC);
         i++)
        m->list[i].kind = KIND_JAVA_CLASSES;
}

/* Without an archive the class space follows the heap, which ends at 4 GiB, or 1 GiB below the
 * reach of compressed pointers. */
static void label_low_class_space(struct mappings *m)
{
    static const uint64_t starts[] = {4 * GIB, COMPRESSED_REACH - CLASS_SPACE};

    for (size_t k = 0; k < sizeof(starts) / sizeof(starts[0]); k++) {
        uint64_t end = starts[k] + CLASS_SPACE;
        size_t i = mappings_find(m, starts[k]), behind = mappings_find(m, end);
        /* Its first part may have merged with the heap. */
        if (i < m->count && m->list[i].start < starts[k])
            i++;
        if (!behind || i >= behind || m->list[behind - 1].end != end || follows(m, behind))
            continue;
        for (; i < behind; i++) {
            if (mapping_is_open(&m->list[i]) && !(m->list[i].flags & MAPPING_EXEC))
                m->list[i].kind = KIND_JAVA_CLASSES;
        }
    }
}

void label_java_archive(struct mappings *m)
{
    bool any = false;

    for (size_t i = 0; i < m->count; i++) {
        if (!(m->list[i].flags & MAPPING_ARCHIVE) || m->list[i].kind != KIND_JAVA_CLASSES)
            continue;
        if (inside_heap(m, i))
            m->list[i].kind = KIND_JAVA_HEAP;
        else
            label_class_space(m, i);
        any = true;
    }
    if (!any)
        label_low_class_space(m);
}

/* Metaspace that was reserved right after the class space lies right below it. Later parts may lie
 * anywhere, and look like structures of a collector. */
void label_java_metaspace(struct mappings *m)
{
    for (size_t i = 1; i < m->count; i++) {
        size_t first = i, whole = i;
        if (m->list[i].kind != KIND_JAVA_CLASSES || !follows(m, i))
            continue;
        while (first && follows(m, first) && mapping_is_open(&m->list[first - 1]) &&
               !(m->list[first - 1].flags & MAPPING_EXEC) &&
               m->list[first - 1].start % META_GRANULE == 0) {
            first--;
            if ((m->list[i].start - m->list[first].start) % META_NODE == 0 &&
                has_access(&m->list[first])) {
                whole = first;
                break;
            }
        }
        for (; whole < i; whole++)
            m->list[whole].kind = KIND_JAVA_CLASSES;
    }
}

void label_java_code(struct mappings *m)
{
    for (size_t i = 0; i < m->count; i++) {
        bool more = follows(m, i) && m->list[i - 1].kind == KIND_JAVA_CODE;
        if (mapping_is_open(&m->list[i]) &&
            (m->list[i].flags & MAPPING_EXEC || (more && !has_access(&m->list[i]))))
            m->list[i].kind = KIND_JAVA_CODE;
    }
}

/* All open mappings from `i` on that lie without gaps. */
static size_t run(const struct mappings *m, size_t i)
{
    size_t end = i + 1;

    while (follows(m, end) && mapping_is_open(&m->list[end]))
        end++;
    return end;
}

void label_java_heap(struct mappings *m)
{
    uint64_t most = COMPRESSED_REACH;
    size_t first = 0, last = 0;
    bool found = false;

    for (size_t i = 0; i < m->count; i++) {
        struct mapping *at = &m->list[i];
        /* What ZGC, say, has reserved for the heap but not used yet. */
        bool reserve = !has_access(at) && follows(m, i) && m->list[i - 1].kind == KIND_JAVA_HEAP;
        if (mapping_is_open(at) && (reserve || at->end <= COMPRESSED_REACH))
            at->kind = KIND_JAVA_HEAP;
        found |= at->kind == KIND_JAVA_HEAP;
    }
    /* A heap that is too large for compressed pointers is the largest there is. */
    for (size_t i = 0; !found && i < m->count; i++) {
        size_t end;
        if (!mapping_is_open(&m->list[i]))
            continue;
        end = run(m, i);
        if (m->list[end - 1].end - m->list[i].start >= most) {
            most = m->list[end - 1].end - m->list[i].start;
            first = i;
            last = end;
        }
        i = end - 1;
    }
    for (size_t i = first; i < last; i++)
        m->list[i].kind = KIND_JAVA_HEAP;
}
