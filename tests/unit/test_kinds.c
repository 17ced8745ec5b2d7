/* SPDX-License-Identifier: MIT */
/* What mappings are for: from canned lines of /proc/PID/maps, and of this process itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "java_answer.h"
#include "kinds.h"
#include "stack_kinds.h"

/* A process about which nothing but its maps can be read. */
static const struct procfs closed = {.dir = -1};
static const struct kinds_hints no_hints;

static void take(struct mappings *m, const char *text)
{
    char line[512];

    for (const char *end; *text; text = end + 1) {
        struct procfs_map map = {0};
        end = strchr(text, '\n');
        assert_non_null(end);
        assert_true((size_t)(end - text) < sizeof(line));
        memcpy(line, text, (size_t)(end - text));
        line[end - text] = '\0';
        assert_true(procfs_parse_map(&map, line));
        mappings_add(m, &map);
    }
}

/* The kinds of the lines, one letter each, in order. */
static void expect(const struct mappings *m, const char *letters)
{
    static const char of[] = "HCMGOSABansfkr";
    char got[256];

    _Static_assert(sizeof(of) - 1 == KIND_COUNT, "a letter for each");
    assert_true(m->count < sizeof(got));
    for (size_t i = 0; i < m->count; i++)
        got[i] = of[m->list[i].kind];
    got[m->count] = '\0';
    assert_string_equal(got, letters);
}

static void names(void **state)
{
    struct mappings m = {0};
    struct kinds k;
    (void)state;
    take(&m, "00400000-00401000 r-xp 00000000 08:01 7 /usr/bin/x\n"
             "00401000-00402000 rw-p 00001000 08:01 7 /usr/bin/x\n"
             "00402000-00403000 rw-p 00000000 00:00 0 \n"
             "00500000-00600000 rw-p 00000000 00:00 0 [heap]\n"
             "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 [anon: glibc: malloc]\n"
             "7f0000001000-7f0000002000 rw-p 00000000 00:00 0 [anon: glibc: pthread stack: 7]\n"
             "7f0000002000-7f0000003000 rw-p 00000000 00:00 0 [anon:a\\ \"b]\n"
             "7f0000003000-7f0000004000 rw-s 00000000 00:01 5 /memfd:x (deleted)\n"
             "7f0000004000-7f0000005000 rw-s 00000000 00:01 6 /dev/zero (deleted)\n"
             "7f0000005000-7f0000006000 rw-s 00000000 00:01 9 /SYSV00000000 (deleted)\n"
             "7f0000006000-7f0000007000 rw-s 00000000 00:02 9 /dev/shm/y\n"
             "7f0000007000-7f0000008000 ---p 00000000 00:00 0 \n"
             "7f0000009000-7f000000a000 r-xp 00000000 08:01 8 /opt/remap/libremap.so.0\n"
             "7f000000a000-7f000000b000 rw-p 00001000 08:01 8 /opt/remap/libremap.so.0\n"
             "7f000000b000-7f000000c000 rw-p 00000000 00:00 0 \n"
             "7f000000d000-7f000000e000 rw-s 00000000 00:0f 3 anon_inode:[io_uring]\n"
             "7ffd00000000-7ffd00001000 rw-p 00000000 00:00 0 [stack]\n"
             "7ffd00002000-7ffd00003000 r-xp 00000000 00:00 0 [vdso]\n"
             "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n");
    kinds_find(&k, &m, &closed, &no_hints);
    expect(&m, "fffABSassssnrrrkSkk");
    assert_int_equal(k.java, JAVA_NONE);
    assert_false(k.headers);
    assert_int_equal(k.total.vmas, 19);
    assert_int_equal(k.of[KIND_FILES].vmas, 3);
    assert_int_equal(k.of[KIND_FILES].bytes, 3 * 4096);
    mappings_free(&m);
}

static void order(void **state)
{
    struct kinds k = {0};
    enum kind list[KIND_COUNT];
    (void)state;
    assert_int_equal(kinds_order(&k, list), 0);
    k.of[KIND_STACKS].vmas = 5;
    k.of[KIND_FILES].vmas = 7;
    k.of[KIND_ARENAS].vmas = 5;
    assert_int_equal(kinds_order(&k, list), 3);
    assert_int_equal(list[0], KIND_FILES);
    assert_int_equal(list[1], KIND_STACKS);
    assert_int_equal(list[2], KIND_ARENAS);
}

/* Shapes of arenas: whole, full to its end (not told from other memory), too short. */
static void arena_shapes(void **state)
{
    struct mappings m = {0};
    struct kinds k;
    (void)state;
    take(&m, "7f0004000000-7f0004021000 rw-p 00000000 00:00 0 \n"
             "7f0004021000-7f0008000000 ---p 00000000 00:00 0 \n"
             "7f0008000000-7f000c000000 rw-p 00000000 00:00 0 \n"
             "7f0010000000-7f0010021000 rw-p 00000000 00:00 0 \n"
             "7f0010021000-7f0011000000 ---p 00000000 00:00 0 \n");
    kinds_find(&k, &m, &closed, &no_hints);
    expect(&m, "AAaan");
    mappings_free(&m);
}

/* Three stacks of one shape, one of which no pointer tells; a runtime with two stacks in one
 * mapping; a pointer into nothing. */
static void stacks(void **state)
{
    static const uint64_t pointers[] = {0x1000,         0x7f0000001800, 0x7f0000005f00,
                                        0x7f0000100100, 0x7f0000100200, UINT64_MAX};
    struct mappings m = {0};
    struct kinds k;
    (void)state;
    take(&m, "7f0000000000-7f0000001000 ---p 00000000 00:00 0 \n"
             "7f0000001000-7f0000003000 rw-p 00000000 00:00 0 \n"
             "7f0000003000-7f0000004000 ---p 00000000 00:00 0 \n"
             "7f0000004000-7f0000006000 rw-p 00000000 00:00 0 \n"
             "7f0000007000-7f0000008000 ---p 00000000 00:00 0 \n"
             "7f0000008000-7f000000a000 rw-p 00000000 00:00 0 \n"
             "7f000000b000-7f000000c000 ---p 00000000 00:00 0 \n"
             "7f000000c000-7f000000d000 rw-p 00000000 00:00 0 \n"
             "7f0000100000-7f0000200000 rw-p 00000000 00:00 0 \n");
    label_stacks_at(&m, pointers, sizeof(pointers) / sizeof(pointers[0]), 0);
    kinds_find(&k, &m, &closed, &no_hints);
    expect(&m, "SSSSSSnaa");
    mappings_free(&m);
}

static const char g1[] =
    "f0000000-ffe00000 rw-p 00000000 00:00 0 \n"
    "ffe00000-ffe75000 rw-p 00c00000 08:01 9 /jdk/lib/server/classes.jsa\n"
    "ffe75000-fff00000 rw-p 00000000 00:00 0 \n"
    "fff00000-fff78000 rw-p 00b00000 08:01 9 /jdk/lib/server/classes.jsa\n"
    "fff78000-100000000 rw-p 00000000 00:00 0 \n"
    "7f2d7c000000-7f2d7c021000 rw-p 00000000 00:00 0 \n"
    "7f2d7c021000-7f2d80000000 ---p 00000000 00:00 0 \n"
    "7f2d83000000-7f2d83050000 rw-p 00000000 00:00 0 \n"
    "7f2d83050000-7f2d87000000 ---p 00000000 00:00 0 \n"
    "7f2d87000000-7f2d87bc7000 rw-p 00001000 08:01 9 /jdk/lib/server/classes.jsa\n"
    "7f2d87bc7000-7f2d88000000 ---p 00000000 00:00 0 \n"
    "7f2d88000000-7f2d88010000 rw-p 00000000 00:00 0 \n"
    "7f2d88010000-7f2dc8000000 ---p 00000000 00:00 0 \n"
    "7f2dc8000000-7f2dc8021000 rw-p 00000000 00:00 0 \n"
    "7f2dc8021000-7f2dcc000000 ---p 00000000 00:00 0 \n"
    "7f2de1400000-7f2de1670000 rwxp 00000000 00:00 0 \n"
    "7f2de1670000-7f2de8938000 ---p 00000000 00:00 0 \n"
    "7f2de8938000-7f2de8ba8000 rwxp 00000000 00:00 0 \n"
    "7f2de8ba8000-7f2df0400000 ---p 00000000 00:00 0 \n"
    "7f2dfc97c000-7f2dfc980000 ---p 00000000 00:00 0 \n"
    "7f2dfc980000-7f2dfca7c000 rw-p 00000000 00:00 0 \n"
    "7f2dff000000-7f2dff251000 r-xp 00000000 08:01 8 /jdk/lib/server/libjvm.so\n"
    "7f2dff251000-7f2dff261000 rw-p 00251000 08:01 8 /jdk/lib/server/libjvm.so\n"
    "7f2dff261000-7f2dff281000 rw-p 00000000 00:00 0 \n"
    "7f2e00382000-7f2e0038a000 rw-s 00000000 08:01 4 /tmp/hsperfdata_u/7\n";

static void java_g1(void **state)
{
    static const uint64_t pointer = 0x7f2dfca7b000;
    struct mappings m = {0};
    struct kinds k;
    (void)state;
    take(&m, g1);
    label_stacks_at(&m, &pointer, 1, 0);
    kinds_find(&k, &m, &closed, &no_hints);
    assert_int_equal(k.java, JAVA_LAYOUT);
    expect(&m, "HHHHHAAMMMMMMAACCCCSSfffO");
    assert_int_equal(k.of[KIND_JAVA_HEAP].bytes, 256 << 20);
    mappings_free(&m);
}

static void java_zgc(void **state)
{
    struct mappings m = {0};
    struct kinds k;
    (void)state;
    take(&m, "40000000000-40010000000 rw-s 00000000 00:01 5 /memfd:java_heap (deleted)\n"
             "40010000000-40100000000 ---p 00000000 00:00 0 \n"
             "80000000000-80010000000 rw-s 00000000 00:01 5 /memfd:java_heap (deleted)\n"
             "80010000000-80100000000 ---p 00000000 00:00 0 \n"
             "7f2dff000000-7f2dff251000 r-xp 00000000 08:01 8 /jdk/lib/server/libjvm.so\n"
             "7f3000000000-7f4000000000 rw-p 00000000 00:00 0 \n");
    kinds_find(&k, &m, &closed, &no_hints);
    expect(&m, "HHHHfa");
    mappings_free(&m);
}

/* Without compressed pointers the heap is the largest run of mappings. */
static void java_large(void **state)
{
    struct mappings m = {0};
    struct kinds k;
    (void)state;
    take(&m, "7f1000000000-7f1000001000 rw-p 00000000 00:00 0 \n"
             "7f2000000000-7f2100000000 rw-p 00000000 00:00 0 \n"
             "7f2100000000-7f2a00000000 ---p 00000000 00:00 0 \n"
             "7f2dff000000-7f2dff251000 r-xp 00000000 08:01 8 /jdk/lib/server/libjvm.so\n");
    kinds_find(&k, &m, &closed, &no_hints);
    expect(&m, "aHHf");
    mappings_free(&m);
}

/* Without an archive: the class space lies behind the heap. */
static void java_no_archive(void **state)
{
    struct mappings m = {0};
    struct kinds k;
    (void)state;
    take(&m, "f8000000-100000000 rw-p 00000000 00:00 0 \n"
             "100000000-100010000 rw-p 00000000 00:00 0 \n"
             "100010000-140000000 ---p 00000000 00:00 0 \n"
             "7f2dff000000-7f2dff251000 r-xp 00000000 08:01 8 /jdk/lib/server/libjvm.so\n");
    kinds_find(&k, &m, &closed, &no_hints);
    expect(&m, "HMMf");
    mappings_free(&m);
}

static void tell(struct spans *s, void (*take_line)(struct java_answer *, const char *),
                 const char *const *lines)
{
    struct java_answer a = {.spans = s};

    for (; *lines; lines++)
        take_line(&a, *lines);
}

static void expect_span(const struct spans *s, size_t i, uint64_t start, uint64_t end,
                        enum kind kind)
{
    assert_true(i < s->count);
    assert_int_equal(s->list[i].start, start);
    assert_int_equal(s->list[i].end, end);
    assert_int_equal(s->list[i].kind, kind);
}

static void native_memory(void **state)
{
    static const char *const lines[] = {
        "[0xf0000000 - 0x0000000100000000] reserved and committed 268435456 for Java Heap from",
        "    [0x00007f2dfff1a27c] ReservedSpace::reserve(unsigned long)+0xac",
        "\t[0x00000000f0000000 - 0x0000000100000000] committed 268435456 from",
        "[0x00007f2d84000000 - 0x00007f2dc4000000] reserved 1048576KB for Class from",
        "[0x00007f2dd2000000 - 0x00007f2dd4000000] reserved 33554432 for GC",
        "[0x00007f2dd6000000 - 0x00007f2dd8000000] reserved 33554432 for Something New from",
        "[0x10 - 0x10] reserved 0 for GC from",
        "[0x20 - 0x10] reserved 0 for GC from",
        "[0x30 - 0x40] reserved 16",
        "[0x30 - ",
        "",
        NULL};
    struct spans s = {0};
    (void)state;
    tell(&s, java_answer_native_memory, lines);
    assert_int_equal(s.count, 4);
    expect_span(&s, 0, 0xf0000000, 0x100000000, KIND_JAVA_HEAP);
    expect_span(&s, 1, 0x7f2d84000000, 0x7f2dc4000000, KIND_JAVA_CLASSES);
    expect_span(&s, 2, 0x7f2dd2000000, 0x7f2dd4000000, KIND_JAVA_GC);
    expect_span(&s, 3, 0x7f2dd6000000, 0x7f2dd8000000, KIND_JAVA_OTHER);
    spans_free(&s);
}

static void info(void **state)
{
    static const char *const lines[] = {
        "Heap address: 0x00000000f0000000, size: 256 MB, Compressed Oops mode: 32-bit",
        "CDS archive(s) mapped at: [0x7fd6bb000000-0x7fd6bbbc7000-0x7fd6bbbc7000), size 12349440",
        "Compressed class space mapped at: 0x7fd6bc000000-0x7fd6fc000000, reserved size: 107374",
        "Heap:",
        " PSYoungGen      total 76288K, used 3932K [0xfab00000, 0x100000000, 0x100000000)",
        "  eden space 65536K, 6% used [0xfab00000,0xfaed70f0,0xfeb00000)",
        " Metaspace       used 401K, committed 576K, reserved 1114112K",
        " bounds [0x7fd708ec7000, 0x7fd709137000, 0x7fd710400000]",
        "Card table byte_map: [0x7fd71f9a9000,0x7fd71fa2a000] _byte_map_base: 0x7fd71f229000",
        " End Bits:   [0x7fd71f400000, 0x7fd71f800000)",
        "Heap address: 0xffffffffffffffff, size: 99999999999999999999 MB",
        " bounds [0x7, ",
        " bounds [",
        NULL};
    struct spans s = {0};
    (void)state;
    tell(&s, java_answer_info, lines);
    assert_int_equal(s.count, 8);
    expect_span(&s, 0, 0xf0000000, 0x100000000, KIND_JAVA_HEAP);
    expect_span(&s, 1, 0x7fd6bb000000, 0x7fd6bbbc7000, KIND_JAVA_CLASSES);
    expect_span(&s, 2, 0x7fd6bc000000, 0x7fd6fc000000, KIND_JAVA_CLASSES);
    expect_span(&s, 3, 0xfab00000, 0x100000000, KIND_JAVA_HEAP);
    expect_span(&s, 4, 0xfab00000, 0xfeb00000, KIND_JAVA_HEAP);
    expect_span(&s, 5, 0x7fd708ec7000, 0x7fd710400000, KIND_JAVA_CODE);
    expect_span(&s, 6, 0x7fd71f9a9000, 0x7fd71fa2a000, KIND_JAVA_GC);
    expect_span(&s, 7, 0x7fd71f400000, 0x7fd71f800000, KIND_JAVA_GC);
    spans_free(&s);
}

/* A mapping that the kernel merged has the kind of most of it; names of files are certain. */
static void majority(void **state)
{
    struct mappings m = {0};
    struct spans s = {0};
    (void)state;
    take(&m, "10000-20000 rw-p 00000000 00:00 0 \n"
             "20000-30000 rw-p 00000000 00:00 0 \n"
             "30000-40000 r--p 00000000 08:01 7 /lib/x.so\n"
             "50000-60000 rw-p 00000000 00:00 0 \n");
    spans_add(&s, 0x1c000, 0x2a000, KIND_JAVA_GC);
    spans_add(&s, 0x18000, 0x1e000, KIND_JAVA_OTHER);
    spans_add(&s, 0x30000, 0x40000, KIND_JAVA_GC);
    spans_add(&s, 0x0, UINT64_MAX, KIND_COUNT - 1);
    s.count--;
    label_spans(&m, &s);
    assert_int_equal(m.list[0].kind, KIND_OPEN);
    assert_int_equal(m.list[1].kind, KIND_JAVA_GC);
    assert_int_equal(m.list[2].kind, KIND_FILES);
    assert_int_equal(m.list[3].kind, KIND_OPEN);
    spans_free(&s);
    mappings_free(&m);
}

/* What /proc never says, and names that mean to confuse. */
static void hostile(void **state)
{
    static char lines[][128] = {
        "",
        "0-0 rw-p 0 0:0 0 ",
        "2000-1000 rw-p 00000000 00:00 0 ",
        "1000-2000 rw-p 00000000 00:00 0 [anon:",
        "0-ffffffffffffffff rwxp 00000000 00:00 0 ",
        "ffffffffffffffff-fffffffffffffffe rwxp 00000000 00:00 0 [",
        "4000000-8000000 rw-p ffffffffffffffff ff:ff 18446744073709551615  (deleted)",
        "4000000-8000000 rw-p 00000000 00:00 0 /libjvm.so (deleted)",
        "3000-4000 rw-p 00000000 00:00 0 .jsa",
        "3000-4000 ---p 00000000 00:00 0 ",
        "3000-4000 rw-p 00000000 00:00 0 ",
    };
    struct kinds_hints hints = {.shim = true, .stats_start = UINT64_MAX};
    struct mappings m = {0};
    struct kinds k;
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct procfs_map map = {0};
        if (procfs_parse_map(&map, lines[i]))
            mappings_add(&m, &map);
    }
    label_stacks_at(&m, &(uint64_t){0x3000}, 1, UINT64_MAX);
    kinds_find(&k, &m, &closed, &hints);
    assert_int_equal(k.total.vmas, m.count);
    assert_int_equal(k.java, JAVA_LAYOUT);
    mappings_free(&m);
    kinds_find(&k, &m, &closed, &hints);
    assert_int_equal(k.total.vmas, 0);
}

static pthread_barrier_t barrier;
static uintptr_t thread_stack;
static void *thread_block;

static void *thread(void *arg)
{
    int local;
    (void)arg;
    thread_stack = (uintptr_t)&local;
    thread_block = malloc(1000);
    memset(thread_block, 1, 1000);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    thread_stack = 0;
    free(thread_block);
    return NULL;
}

static void collect(const struct procfs_map *line, void *arg)
{
    mappings_add(arg, line);
}

static void expect_at(const struct mappings *m, const void *address, enum kind kind)
{
    const struct mapping *at = mappings_at(m, (uintptr_t)address);

    assert_non_null(at);
    assert_int_equal(at->kind, kind);
}

/* Each address of this process has the kind that it was made for. */
static void self(void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *small, *large, *aligned, *anonymous, *shared;
    struct mappings m = {0};
    struct procfs p;
    struct kinds k;
    pthread_t id;
    int local;
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    print_message("skipped: the sanitizer's malloc is not glibc's\n");
    skip();
#endif
    small = malloc(100);
    large = malloc(3 << 20);
    aligned = aligned_alloc(1 << 16, 1 << 21);
    memset(small, 1, 100);
    memset(large, 1, 100);
    memset(aligned, 1, 100);
    anonymous = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    shared = mmap(NULL, page, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(anonymous, MAP_FAILED);
    assert_ptr_not_equal(shared, MAP_FAILED);
    assert_int_equal(mprotect(anonymous + page, page, PROT_READ | PROT_WRITE), 0);
    memset(anonymous + page, 1, page);
    pthread_barrier_init(&barrier, NULL, 2);
    assert_int_equal(pthread_create(&id, NULL, thread, NULL), 0);
    pthread_barrier_wait(&barrier);

    assert_int_equal(procfs_open(&p, getpid()), 0);
    assert_int_equal(procfs_maps(&p, collect, &m), 0);
    kinds_find(&k, &m, &p, &no_hints);
    procfs_close(&p);
    expect_at(&m, &local, KIND_STACKS);
    expect_at(&m, (void *)(uintptr_t)self, KIND_FILES);
    expect_at(&m, &barrier, KIND_FILES);
    expect_at(&m, small, KIND_ARENAS);
    expect_at(&m, anonymous, KIND_NO_ACCESS);
    expect_at(&m, anonymous + page, KIND_ANONYMOUS);
    expect_at(&m, shared, KIND_SHARED);
    expect_at(&m, thread_block, KIND_ARENAS);
    /* Stack pointers and memory take the rights of a debugger, which a container may withhold. */
    if (k.headers) {
        expect_at(&m, large, KIND_CHUNKS);
        expect_at(&m, aligned, KIND_CHUNKS);
        expect_at(&m, (void *)thread_stack, KIND_STACKS);
    }
    mappings_free(&m);
    pthread_barrier_wait(&barrier);
    pthread_join(id, NULL);
    free(small);
    free(large);
    free(aligned);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),         cmocka_unit_test(order),
        cmocka_unit_test(arena_shapes),  cmocka_unit_test(stacks),
        cmocka_unit_test(java_g1),       cmocka_unit_test(java_zgc),
        cmocka_unit_test(java_large),    cmocka_unit_test(java_no_archive),
        cmocka_unit_test(native_memory), cmocka_unit_test(info),
        cmocka_unit_test(majority),      cmocka_unit_test(hostile),
        cmocka_unit_test(self),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
