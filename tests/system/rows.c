/* SPDX-License-Identifier: MIT */
#include "rows.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SYSTEM_CALL_MSEAL 462 /* Linux 6.10; old headers do not have it */

static void arm(char *at, size_t size, bool hidden)
{
    static int fds[2] = {-1, -1};
    int *fd = &fds[hidden];
    struct uffdio_api api = {.api = UFFD_API};
    if (*fd < 0) {
        *fd = hidden ? (int)raw_syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK, 0, 0, 0, 0, 0)
                     : (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
        if (*fd < 0 || ioctl(*fd, UFFDIO_API, &api) != 0) {
            test_skip("no userfaultfd to be had");
        }
    }
    struct uffdio_register reg = {.range = {(uintptr_t)at, size},
                                  .mode = UFFDIO_REGISTER_MODE_MISSING};
    CHECK_OK(ioctl(*fd, UFFDIO_REGISTER, &reg));
}

void seal(char *at, size_t size)
{
    long ret = raw_syscall(SYSTEM_CALL_MSEAL, (long)at, (long)size, 0, 0, 0, 0);
    if (ret != 0) {
        test_skip("no mseal() (needs Linux 6.10): %s", strerror((int)-ret));
    }
}

static void map_file(char *at, size_t size, unsigned seed)
{
    char dir[256];
    char path[300];
    temp_dir(dir, sizeof(dir));
    snprintf(path, sizeof(path), "%s/file", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK_OK(fd);
    CHECK_OK(ftruncate(fd, (off_t)size));
    char *all = mmap(NULL, size, RW, MAP_SHARED, fd, 0);
    CHECK(all != MAP_FAILED);
    fill(all, size, seed);
    CHECK_OK(munmap(all, size));
    CHECK_PTR(mmap(at, size, RW, MAP_PRIVATE | MAP_FIXED, fd, 0), at);
    fill(at, PAGE, seed); /* the first page is its own, the others are the file's */
    close(fd);
    CHECK_OK(unlink(path));
    CHECK_OK(rmdir(dir));
}

/*
 * Where anonymous pieces are faulted before they are moved into a row: from the end of this
 * downwards, while rows are made upwards, so that no two that lie side by side in a row ever line
 * up.
 */
static char *stage;
static size_t stage_size;

static char *take_from_stage(size_t size, unsigned seed)
{
    if (!stage || stage_size <= size) {
        stage_size = size + MIB; /* too small for a huge page */
        stage = island(stage_size);
    }
    stage_size -= size;
    fill(stage + stage_size, size, seed);
    return stage + stage_size;
}

void make_part(char *at, struct part part, unsigned seed)
{
    size_t size = part.pages * PAGE;
    int fd = -1;
    switch (part.kind) {
    case GAP:
        return;
    case EMPTY:
        map_at(at, size, RW);
        return;
    case PRIVATE_FILE:
        map_file(at, size, seed);
        return;
    case ZERO_DEVICE:
        CHECK_OK(fd = open("/dev/zero", O_RDWR | O_CLOEXEC));
        CHECK_PTR(mmap(at, size, RW, MAP_PRIVATE | MAP_FIXED, fd, 0), at);
        break;
    case MEMFD:
        CHECK_OK(fd = memfd_create("span", MFD_CLOEXEC));
        CHECK_OK(ftruncate(fd, (off_t)size));
        CHECK_PTR(mmap(at, size, RW, MAP_SHARED | MAP_FIXED, fd, 0), at);
        break;
    case SHARED:
        CHECK_PTR(mmap(at, size, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0), at);
        break;
    default:
        CHECK_EQ(raw_mremap(take_from_stage(size, seed), size, size, MOVE_TO, at), (long)at);
        break;
    }
    fill(at, size, seed);
    close(fd);
    if (part.kind == READ_ONLY || part.kind == NO_ACCESS) {
        CHECK_OK(mprotect(at, size, part.kind == READ_ONLY ? PROT_READ : PROT_NONE));
    } else if (part.kind == LOCKED && mlock(at, size) != 0) {
        test_skip("mlock: %s", strerror(errno));
    } else if (part.kind == ARMED || part.kind == HIDDEN) {
        arm(at, size, part.kind == HIDDEN);
    } else if (part.kind == SEALED) {
        seal(at, size);
    }
}

size_t offset_of(const struct row *row, size_t part)
{
    size_t offset = 0;
    for (size_t i = 0; i < part; i++) {
        offset += row->parts[i].pages * PAGE;
    }
    return offset;
}

static struct row start_row(const struct part *parts, size_t count)
{
    struct row row = {.parts = parts, .count = count};
    row.size = offset_of(&row, count);
    row.src = reserve(row.size + 2 * PAGE) + PAGE;
    row.dst = reserve(row.size + 2 * PAGE) + PAGE;
    map_at(row.dst - PAGE, row.size + 2 * PAGE, RW);
    fill(row.dst - PAGE, row.size + 2 * PAGE, MARK);
    return row;
}

static void make_number(const struct row *row, size_t i)
{
    make_part(row->src + offset_of(row, i), row->parts[i], (unsigned)i + 1);
}

/* Gaps come last, and nothing is mapped any more until the move: it could fill them. */
static void finish_row(const struct row *row)
{
    maps_open();
    for (size_t i = 0; i < row->count; i++) {
        if (row->parts[i].kind == GAP) {
            CHECK_OK(munmap(row->src + offset_of(row, i), row->parts[i].pages * PAGE));
        }
    }
}

struct row make_row(const struct part *parts, size_t count)
{
    struct row row = start_row(parts, count);
    for (size_t i = 0; i < count; i++) {
        make_number(&row, i);
    }
    finish_row(&row);
    return row;
}

struct row make_row_around(const struct part *parts, size_t count, size_t first, void (*then)(void))
{
    struct row row = start_row(parts, count);
    stage = NULL;
    make_number(&row, first);
    stage = NULL; /* the others have nothing in common with it */
    then();
    for (size_t i = 0; i < count; i++) {
        if (i != first) {
            make_number(&row, i);
        }
    }
    finish_row(&row);
    return row;
}

long ask(bool shimmed, const char *src, size_t old_size, size_t new_size, int flags,
         const char *dst)
{
    if (!shimmed) {
        return raw_mremap(src, old_size, new_size, flags & ~(RELOC | MUST), dst);
    }
    errno = 0;
    const char *got = shim_mremap(src, old_size, new_size, flags, dst);
    return got == MAP_FAILED ? -errno : (long)(uintptr_t)got;
}

long ask_row(bool shimmed, const struct row *row, int flags)
{
    return ask(shimmed, row->src, row->size, row->size, flags, row->dst);
}

bool kernel_spans(void)
{
    static const struct part two[] = {{DATA, 1}, {READ_ONLY, 1}};
    static int known = -1;
    if (known < 0) {
        struct row row = make_row(two, 2);
        known = ask_row(false, &row, MOVE_TO) == (long)row.dst;
    }
    return known == 1;
}

static const char *perms_of(enum part_kind kind)
{
    switch (kind) {
    case READ_ONLY:
        return "r--p";
    case NO_ACCESS:
        return "---p";
    case MEMFD:
    case SHARED:
        return "rw-s";
    default:
        return "rw-p";
    }
}

void check_part(char *at, struct part part, unsigned seed)
{
    struct map_line line;
    char flags[256];
    size_t size = part.pages * PAGE;
    if (part.kind == GAP) {
        return;
    }
    for (size_t page = 0; page<size; page += size - PAGE> 0 ? size - PAGE : size) {
        CHECK(map_of(at + page, &line));
        if (strcmp(line.perms, perms_of(part.kind)) != 0) {
            test_fail(__FILE__, __LINE__, "part %u: %s", seed - 1, line.perms);
        }
    }
    if (part.kind == EMPTY) {
        CHECK_EQ(mapped_in(at, size), size);
        CHECK(holds_zero(at, size));
        return;
    }
    if (part.kind == LOCKED) {
        vm_flags(at, flags, sizeof(flags));
        CHECK(strstr(flags, "lo ") != NULL);
    }
    if (part.kind == NO_ACCESS) {
        CHECK_OK(mprotect(at, size, PROT_READ));
    }
    CHECK_HOLDS(at, size, seed);
    if (part.kind == NO_ACCESS) {
        CHECK_OK(mprotect(at, size, PROT_NONE));
    }
}

/* What a part has left at its old place. */
static void check_left(char *at, struct part part, unsigned seed, bool kept)
{
    size_t size = part.pages * PAGE;
    bool mapped = kept && part.kind != GAP;
    CHECK_EQ(mapped_in(at, size), mapped ? size : 0);
    if (!mapped) {
        return;
    }
    if (part.kind == MEMFD || part.kind == SHARED || part.kind == PRIVATE_FILE) {
        CHECK_HOLDS(at, size, seed);
        return;
    }
    if (part.kind == NO_ACCESS) {
        CHECK_OK(mprotect(at, size, PROT_READ));
    }
    CHECK(holds_zero(at, size));
}

void check_row(const struct row *row, size_t moved, bool kept)
{
    for (size_t i = 0; i < row->count; i++) {
        size_t offset = offset_of(row, i);
        struct part part = row->parts[i];
        unsigned seed = (unsigned)i + 1;
        if (i < moved) {
            check_part(row->dst + offset, part, seed);
            check_left(row->src + offset, part, seed, kept);
        } else {
            check_part(row->src + offset, part, seed);
        }
        if (part.kind == GAP) {
            CHECK_EQ(mapped_in(row->src + offset, part.pages * PAGE), 0);
            CHECK_HOLDS_FROM(row->dst + offset, part.pages * PAGE, MARK, PAGE + offset);
        }
    }
    CHECK_HOLDS(row->dst - PAGE, PAGE, MARK);
    CHECK_HOLDS_FROM(row->dst + row->size, PAGE, MARK, PAGE + row->size);
}

void check_source(const struct row *row)
{
    for (size_t i = 0; i < row->count; i++) {
        size_t offset = offset_of(row, i);
        check_part(row->src + offset, row->parts[i], (unsigned)i + 1);
        if (row->parts[i].kind == GAP) {
            CHECK_EQ(mapped_in(row->src + offset, row->parts[i].pages * PAGE), 0);
        }
    }
}

struct row move_row(const struct part *parts, size_t count, int flags)
{
    struct row row;
    for (int shimmed = kernel_spans() ? 0 : 1; shimmed < 2; shimmed++) {
        row = make_row(parts, count);
        CHECK_EQ(ask_row(shimmed, &row, flags), (long)row.dst);
        check_row(&row, count, (flags & MREMAP_DONTUNMAP) != 0);
    }
    return row; /* the shim's */
}
