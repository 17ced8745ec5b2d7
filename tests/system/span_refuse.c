/* SPDX-License-Identifier: MIT */
/*
 * One mremap() over several VMAs that is refused, by its arguments or for one of the VMAs. Kernels
 * that do such moves (Linux 6.17) have then moved what lies before that one, and so has the shim
 * there; elsewhere the shim moves nothing, and the errno is the kernel's for such a range.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "rows.h"

/* ---- what the kernel refuses ---- */

enum { TO_THE_ROW = -1 }; /* instead of an offset from the source */

/* Refused where the kernel does no such moves. Its own refusal may unmap the destination; nothing
 * else may be there than what was. */
static void check_nothing_moved(const struct row *row)
{
    struct map_line line;
    check_source(row);
    for (size_t page = 0; page < row->size; page += PAGE) {
        if (map_of(row->dst + page, &line)) {
            CHECK(strcmp(line.perms, "rw-p") == 0);
            CHECK_HOLDS_FROM(row->dst + page, PAGE, MARK, PAGE + page);
        }
    }
}

/* The part number `bad` stops the move. */
static void stop_row(const struct part *parts, size_t count, size_t bad, int error, int flags)
{
    bool spans = kernel_spans();
    struct row plain = make_row(parts, count);
    long want = ask_row(false, &plain, flags);
    CHECK(want < 0);
    if (spans) {
        CHECK_EQ(want, -error);
        check_row(&plain, bad, (flags & MREMAP_DONTUNMAP) != 0);
    }
    struct row row = make_row(parts, count);
    CHECK_EQ(ask_row(true, &row, flags), want);
    if (spans) {
        check_row(&row, bad, (flags & MREMAP_DONTUNMAP) != 0);
    } else {
        check_nothing_moved(&row);
    }
}

/* Refused on every kernel: with the kernel's errno, and nothing has moved. */
static void refuse(size_t old_size, size_t new_size, int flags, long to, int error)
{
    static const struct part parts[] = {{DATA, 2}, {DATA, 2}, {READ_ONLY, 2}};
    for (int shimmed = 0; shimmed < 2; shimmed++) {
        struct row row = make_row(parts, COUNT(parts));
        const char *dst = to >= 0 ? row.src + to : to == TO_THE_ROW ? row.dst : (const char *)to;
        CHECK_EQ(ask(shimmed, row.src, old_size, new_size, flags, dst), -error);
        if (new_size >= old_size) { /* or it has been shrunk before it was refused, until 6.16 */
            check_source(&row);
        }
    }
}

static void grown_or_shrunk(void)
{
    static const int with[] = {0, RELOC, MUST};
    for (size_t i = 0; i < COUNT(with); i++) {
        refuse(6 * PAGE, 7 * PAGE, MOVE_TO | with[i], TO_THE_ROW, EFAULT);
        refuse(6 * PAGE, 60 * PAGE, MREMAP_MAYMOVE | with[i], TO_THE_ROW, EFAULT);
        refuse(6 * PAGE, 5 * PAGE, MOVE_TO | with[i], TO_THE_ROW, EFAULT);
    }
}

/* A shrink to what lies in the first VMA is none over several. */
static void shrunk_to_the_first(void)
{
    static const struct part parts[] = {{DATA, 4}, {DATA, 2}, {DATA, 2}};
    for (int shimmed = 0; shimmed < 2; shimmed++) {
        struct row row = make_row(parts, COUNT(parts));
        CHECK_EQ(ask(shimmed, row.src, row.size, 3 * PAGE, MOVE_TO, row.dst), (long)row.dst);
        CHECK_HOLDS(row.dst, 3 * PAGE, 1);
        CHECK_EQ(mapped_in(row.src, row.size), 0);
        CHECK_HOLDS_FROM(row.dst + 3 * PAGE, PAGE, MARK, 4 * PAGE);
    }
}

static void without_fixed(void)
{
    refuse(6 * PAGE, 6 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0, EINVAL);
    refuse(6 * PAGE, 6 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, TO_THE_ROW, EFAULT);
    refuse(6 * PAGE, 8 * PAGE, MREMAP_MAYMOVE, TO_THE_ROW, EFAULT);
}

static void bad_destination(void)
{
    refuse(6 * PAGE, 6 * PAGE, MOVE_TO, 0, EINVAL);
    refuse(6 * PAGE, 6 * PAGE, MOVE_TO, 5 * PAGE, EINVAL);
    refuse(6 * PAGE, 6 * PAGE, MOVE_TO, PAGE, EINVAL);
    refuse(6 * PAGE, 6 * PAGE, MOVE_TO, 6 * PAGE + 1, EINVAL);
    refuse(6 * PAGE, 6 * PAGE, MOVE_TO | MREMAP_DONTUNMAP, 5 * PAGE, EINVAL);
    refuse(6 * PAGE, 6 * PAGE, MOVE_TO, (long)(UINTPTR_MAX & ~(6 * PAGE - 1)), EINVAL);
}

/* Where user space ends: what fits moves, what does not is refused as a whole. */
static void end_of_user_space(void)
{
    static const struct part parts[] = {{DATA, 2}, {DATA, 2}, {DATA, 2}};
    for (unsigned bits = 39; bits < 57; bits++) {
        struct row plain = make_row(parts, COUNT(parts));
        struct row row = make_row(parts, COUNT(parts));
        plain.dst = row.dst = (char *)(((uintptr_t)1 << bits) - 3 * PAGE);
        long want = ask_row(false, &plain, MOVE_TO);
        if (want == -EINVAL) { /* not EFAULT, as before 6.17 for any row */
            CHECK_EQ(ask_row(true, &row, MOVE_TO), want);
            check_source(&row);
        }
    }
}

static void gap_at_the_start(void)
{
    static const struct part parts[] = {{GAP, 1}, {DATA, 3}, {DATA, 2}};
    static const struct part nothing[] = {{GAP, 6}};
    stop_row(parts, COUNT(parts), 0, EFAULT, MOVE_TO);
    stop_row(parts, COUNT(parts), 0, EFAULT, MOVE_TO | MREMAP_DONTUNMAP);
    stop_row(nothing, COUNT(nothing), 0, EFAULT, MOVE_TO);
}

static void stopped_at(enum part_kind kind, int error)
{
    for (size_t bad = 0; bad < 4; bad++) {
        struct part parts[] = {{DATA, 2}, {DATA, 1}, {READ_ONLY, 2}, {DATA, 3}};
        parts[bad].kind = kind;
        stop_row(parts, COUNT(parts), bad, error, MOVE_TO);
        stop_row(parts, COUNT(parts), bad, error, MOVE_TO | MREMAP_DONTUNMAP);
    }
}

/* Ineligible in the kernel's eyes: as in a move of a file whose driver chooses addresses. */
static void zero_device(void)
{
    stopped_at(ZERO_DEVICE, EFAULT);
}

static void armed(void)
{
    stopped_at(ARMED, EFAULT);
}

static void armed_unseen(void)
{
    stopped_at(HIDDEN, EFAULT);
}

/* This one is found when its turn comes, whoever moves the row. */
static void sealed(void)
{
    for (size_t bad = 0; bad < 4; bad++) {
        struct part parts[] = {{DATA, 2}, {DATA, 1}, {READ_ONLY, 2}, {DATA, 3}};
        parts[bad].kind = SEALED;
        for (int shimmed = kernel_spans() ? 0 : 1; shimmed < 2; shimmed++) {
            struct row row = make_row(parts, COUNT(parts));
            CHECK_EQ(ask_row(shimmed, &row, MOVE_TO), -EPERM);
            check_row(&row, bad, false);
        }
    }
}

/* The only VMA of its range, a gap behind it: the range goes on, so that is refused too. */
static void armed_before_a_gap(void)
{
    static const struct part parts[] = {{ARMED, 2}, {GAP, 2}};
    stop_row(parts, COUNT(parts), 0, EFAULT, MOVE_TO);
}

static void sealed_destination(void)
{
    static const struct part parts[] = {{DATA, 2}, {DATA, 2}, {DATA, 2}};
    for (size_t bad = 0; bad < COUNT(parts); bad++) {
        struct row plain = make_row(parts, COUNT(parts));
        struct row row = make_row(parts, COUNT(parts));
        seal(plain.dst + offset_of(&plain, bad), PAGE);
        seal(row.dst + offset_of(&row, bad), PAGE);
        CHECK_EQ(ask_row(false, &plain, MOVE_TO), -EPERM);
        CHECK_EQ(ask_row(true, &row, MOVE_TO), -EPERM);
        if (kernel_spans()) {
            check_row(&plain, bad, false);
            check_row(&row, bad, false);
        } else {
            check_nothing_moved(&row);
        }
    }
}

/* ---- demanded and not possible ---- */

static pid_t sharer;
static int sharer_ends[2];

static void live_on(void *unused)
{
    (void)unused;
    char c;
    close(sharer_ends[1]);
    CHECK_EQ(read(sharer_ends[0], &c, 1), 0); /* until the parent closes its end, or is gone */
}

static void start_sharer(void)
{
    CHECK_OK(pipe(sharer_ends));
    sharer = start_child(live_on, NULL);
    close(sharer_ends[0]);
}

/* Pages of the part `bad` are shared with a child: what is before it has been relocated, it and the
 * rest are intact. */
static void must_stops(void)
{
    static const struct part parts[] = {{DATA, 2}, {DATA, 1}, {DATA, 2}, {DATA, 3}};
    need_relocation();
    for (size_t bad = 0; bad < COUNT(parts); bad++) {
        struct row row = make_row_around(parts, COUNT(parts), bad, start_sharer);
        CHECK_EQ(ask_row(true, &row, MOVE_TO | MUST), -EFAULT);
        check_row(&row, bad, false);
        CHECK_EQ(vmas_in(row.dst - PAGE, offset_of(&row, bad) + PAGE), 1);
        close(sharer_ends[1]);
        join_child(sharer);
    }
}

/* What is not anonymous is known beforehand: nothing moves. */
static void must_of_a_file(void)
{
    static const enum part_kind kinds[] = {SHARED, PRIVATE_FILE, MEMFD};
    need_relocation();
    for (size_t bad = 0; bad < 4; bad++) {
        for (size_t kind = 0; kind < COUNT(kinds); kind++) {
            struct part parts[] = {{DATA, 2}, {DATA, 1}, {DATA, 2}, {DATA, 3}};
            parts[bad].kind = kinds[kind];
            struct row row = make_row(parts, COUNT(parts));
            CHECK_EQ(ask_row(true, &row, MOVE_TO | MUST), -EFAULT);
            check_source(&row);
        }
    }
}

static const struct test_case cases[] = {
    {"grown_or_shrunk", grown_or_shrunk, NULL},
    {"shrunk_to_the_first", shrunk_to_the_first, NULL},
    {"without_fixed", without_fixed, NULL},
    {"bad_destination", bad_destination, NULL},
    {"end_of_user_space", end_of_user_space, NULL},
    {"gap_at_the_start", gap_at_the_start, NULL},
    {"zero_device", zero_device, NULL},
    {"armed", armed, NULL},
    {"armed_unseen", armed_unseen, NULL},
    {"armed_before_a_gap", armed_before_a_gap, NULL},
    {"sealed", sealed, NULL},
    {"sealed_destination", sealed_destination, NULL},
    {"must_stops", must_stops, NULL},
    {"must_of_a_file", must_of_a_file, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, COUNT(cases));
}
