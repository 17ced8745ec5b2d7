/* SPDX-License-Identifier: MIT */
/*
 * The contract of MREMAP_RELOCATE_ANON (8) and MREMAP_MUST_RELOCATE_ANON (16) where relocation is
 * not feasible: with 8 the move is a plain one, with 16 it fails with EFAULT, the destination of
 * MREMAP_FIXED unmapped and the source where and as it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define LEN (8 * PAGE)

/* Demands the refusal of 16 (and of 8 and 16 together), and then the plain move with 8. */
static void refused(char *src, size_t size, unsigned seed, size_t skip)
{
    char *dst = reserve(size);
    CHECK_ERRNO(shim_mremap(src, size, size, MOVE_TO | MUST, dst), EFAULT);
    CHECK_EQ(mapped_in(dst, size), 0);
    CHECK_HOLDS_FROM(src, size, seed, skip);
    CHECK_ERRNO(shim_mremap(src, size, size, MOVE_TO | MUST | RELOC, dst), EFAULT);
    CHECK_HOLDS_FROM(src, size, seed, skip);
    CHECK_PTR(shim_mremap(src, size, size, MOVE_TO | RELOC, dst), dst);
    CHECK_HOLDS_FROM(dst, size, seed, skip);
    CHECK_EQ(mapped_in(src, size), 0);
}

static void shared_anonymous(void)
{
    char *src = reserve(2 * LEN);
    CHECK_PTR(mmap(src, LEN, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0), src);
    fill(src, LEN, 1);
    refused(src, LEN, 1, 0);
}

static void memfd_shared(void)
{
    int fd = memfd_create("contract", 0);
    CHECK_OK(ftruncate(fd, (off_t)LEN));
    char *src = reserve(2 * LEN);
    CHECK_PTR(mmap(src, LEN, RW, MAP_SHARED | MAP_FIXED, fd, 0), src);
    fill(src, LEN, 1);
    refused(src, LEN, 1, 0);
}

/* Private, and every page copied: still a file mapping. */
static void file_private(void)
{
    char dir[256];
    temp_dir(dir, sizeof(dir));
    char path[300];
    snprintf(path, sizeof(path), "%s/file", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK_OK(fd);
    CHECK_OK(unlink(path));
    CHECK_OK(rmdir(dir));
    CHECK_OK(ftruncate(fd, (off_t)LEN));
    char *src = reserve(2 * LEN);
    CHECK_PTR(mmap(src, LEN, RW, MAP_PRIVATE | MAP_FIXED, fd, 0), src);
    fill(src, LEN, 1);
    refused(src, LEN, 1, 0);
}

static char overcommit_before[32];
static const char overcommit_path[] = "/proc/sys/vm/nr_overcommit_hugepages";

static void restore_overcommit(void)
{
    write_text(overcommit_path, overcommit_before);
}

static void hugetlb(void)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_FIXED;
    char *src = reserve(2 * HUGE);
    if (mmap(src, HUGE, RW, flags, -1, 0) == MAP_FAILED) {
        snprintf(overcommit_before, sizeof(overcommit_before), "%ld", read_number(overcommit_path));
        if (!write_text(overcommit_path, "2")) {
            test_skip("no huge pages are reserved, and not allowed to allow some");
        }
        test_at_end(restore_overcommit);
        if (mmap(src, HUGE, RW, flags, -1, 0) == MAP_FAILED) {
            test_skip("no hugetlb page to be had: %s", strerror(errno));
        }
    }
    fill(src, HUGE, 1);
    refused(src, HUGE, 1, 0);
}

static void move_the_vdso(void *unused)
{
    (void)unused;
    char *src = (char *)getauxval(AT_SYSINFO_EHDR);
    struct map_line line;
    CHECK(map_of(src, &line));
    size_t size = line.end - line.start;
    char before[256];
    memcpy(before, src, sizeof(before));
    char *dst = reserve(size);
    CHECK_ERRNO(shim_mremap(src, size, size, MOVE_TO | MUST, dst), EFAULT);
    CHECK_EQ(mapped_in(dst, size), 0);
    CHECK(memcmp(src, before, sizeof(before)) == 0);
    CHECK_PTR(shim_mremap(src, size, size, MOVE_TO | RELOC, dst), dst);
    CHECK(memcmp(dst, before, sizeof(before)) == 0);
    /* The shim must not rely on what the program has just moved away. */
    char *next = piece(LEN, 2);
    char *to = reserve(LEN);
    CHECK_PTR(shim_mremap(next, LEN, LEN, MOVE_TO | RELOC, to), to);
    CHECK_HOLDS(to, LEN, 2);
}

static void vdso(void)
{
    if (getauxval(AT_SYSINFO_EHDR) == 0) {
        test_skip("no vdso here");
    }
    in_child(move_the_vdso, NULL);
}

/* ---- fork ---- */

/* With 16: relocated, or refused with the source intact. */
static void relocated_or_refused(char *src, size_t size, unsigned seed)
{
    char *dst = reserve(size);
    errno = 0;
    char *got = shim_mremap(src, size, size, MOVE_TO | MUST, dst);
    if (got == MAP_FAILED) {
        CHECK_EQ(errno, EFAULT);
        CHECK_EQ(mapped_in(dst, size), 0);
        CHECK_HOLDS(src, size, seed);
        CHECK_PTR(shim_mremap(src, size, size, MOVE_TO | RELOC, dst), dst);
    } else {
        CHECK_PTR(got, dst);
    }
    CHECK_HOLDS(dst, size, seed);
    CHECK_EQ(mapped_in(src, size), 0);
}

static void move_inherited(void *at)
{
    relocated_or_refused(at, LEN, 1);
}

static void move_copied(void *at)
{
    fill(at, LEN, 2);
    relocated_or_refused(at, LEN, 2);
}

/* A forked child: pages that are still shared with its parent, and pages copied since. */
static void forked_child(void)
{
    char *src = piece(LEN, 1);
    in_child(move_inherited, src);
    in_child(move_copied, src);
    CHECK_HOLDS(src, LEN, 1);
}

struct holder {
    char *at;
    int ready;
    int go;
    int what;
};
enum { HOLD, UNMAP, EXEC };

/* Holds the memory until told to go, then checks that it never changed; or lets go at once. */
static void hold(void *argument)
{
    struct holder *h = argument;
    char c = 0;
    if (h->what == UNMAP) {
        CHECK_OK(munmap(h->at, LEN));
    }
    if (h->what == EXEC) {
        dup2(h->go, 0);
        dup2(h->ready, 1);
        execl("/bin/sh", "sh", "-c", "echo; read line", (char *)NULL);
        test_fail(__FILE__, __LINE__, "exec");
    }
    CHECK_EQ(write(h->ready, &c, 1), 1);
    CHECK_EQ(read(h->go, &c, 1), 1);
    if (h->what == HOLD) {
        CHECK_HOLDS(h->at, LEN, 1);
    }
}

static pid_t start_holder(char *at, int what, int *go)
{
    int ready[2];
    int to[2];
    CHECK_OK(pipe(ready));
    CHECK_OK(pipe(to));
    struct holder h = {.at = at, .ready = ready[1], .go = to[0], .what = what};
    pid_t pid = start_child(hold, &h);
    char c;
    CHECK_EQ(read(ready[0], &c, 1), 1);
    *go = to[1];
    return pid;
}

/* 8 is a plain move at least, and the child keeps what it had; once it is gone all is well. */
static void living_child(void)
{
    int go;
    char *src = piece(LEN, 1);
    pid_t pid = start_holder(src, HOLD, &go);
    char *at = reserve(LEN);
    CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO | RELOC, at), at);
    CHECK_HOLDS(at, LEN, 1);
    fill(at, LEN, 1);
    CHECK_EQ(write(go, "\n", 1), 1);
    join_child(pid);
}

static void living_child_must(void)
{
    int go;
    char *src = piece(LEN, 1);
    pid_t pid = start_holder(src, HOLD, &go);
    relocated_or_refused(src, LEN, 1);
    CHECK_EQ(write(go, "\n", 1), 1);
    join_child(pid);
}

static void fine_again(int what)
{
    int go;
    need_relocation();
    char *area = map_at(reserve(2 * LEN), LEN, RW);
    fill(area, LEN, 3);
    char *src = piece(LEN, 1);
    char *dst = area + LEN;
    pid_t pid = start_holder(src, what, &go);
    if (what == HOLD) {
        CHECK_EQ(write(go, "\n", 1), 1);
        join_child(pid);
    }
    if (what == UNMAP) {
        CHECK_OK(munmap(area, LEN)); /* its own pages are still shared with the child */
        fill(map_at(area, LEN, RW), LEN, 3);
    }
    CHECK_PTR(shim_mremap(src, LEN, LEN, MOVE_TO | MUST, dst), dst);
    CHECK_EQ(vmas_in(area, 2 * LEN), 1);
    CHECK_HOLDS(area, LEN, 3);
    CHECK_HOLDS(dst, LEN, 1);
    if (what != HOLD) {
        CHECK_EQ(write(go, "\n", 1), 1);
        kill(pid, SIGKILL);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
    }
}

static void child_gone(void)
{
    fine_again(HOLD);
}

static void child_unmapped(void)
{
    fine_again(UNMAP);
}

static void child_execed(void)
{
    fine_again(EXEC);
}

static void dontfork(void)
{
    int go;
    need_relocation();
    char *area = reserve(2 * LEN);
    char *src[2];
    for (unsigned i = 0; i < 2; i++) {
        src[i] = piece(LEN, i + 1);
        CHECK_OK(madvise(src[i], LEN, MADV_DONTFORK));
    }
    pid_t pid = start_holder(NULL, EXEC + 1, &go);
    for (unsigned i = 0; i < 2; i++) {
        char *dst = area + i * LEN;
        CHECK_PTR(shim_mremap(src[i], LEN, LEN, MOVE_TO | MUST, dst), dst);
        CHECK_HOLDS(dst, LEN, i + 1);
    }
    CHECK_EQ(vmas_in(area, 2 * LEN), 1);
    CHECK_EQ(write(go, "\n", 1), 1);
    join_child(pid);
}

static void faulted_after_fork(void)
{
    int go;
    need_relocation();
    char *area = reserve(2 * LEN);
    char *src[2] = {island(LEN), island(LEN)};
    pid_t pid = start_holder(NULL, EXEC + 1, &go);
    for (unsigned i = 0; i < 2; i++) {
        char *dst = area + i * LEN;
        fill(src[i], LEN, i);
        CHECK_PTR(shim_mremap(src[i], LEN, LEN, MOVE_TO | MUST, dst), dst);
    }
    CHECK_EQ(vmas_in(area, 2 * LEN), 1);
    CHECK_HOLDS(area, LEN, 0);
    CHECK_HOLDS(area + LEN, LEN, 1);
    CHECK_EQ(write(go, "\n", 1), 1);
    join_child(pid);
}

/* ---- special pages ---- */

static void part_of_a_huge_page(void)
{
    char *src = map_at(reserve(2 * HUGE), HUGE, RW);
    CHECK_OK(madvise(src, HUGE, MADV_HUGEPAGE));
    fill(src, HUGE, 1);
    if (smaps_kib(src, "AnonHugePages") != (long)(HUGE / KIB)) {
        test_skip("no transparent huge page to be had");
    }
    if (copies()) { /* splits nothing, so it need not refuse */
        char *dst = reserve(HUGE / 4);
        CHECK_PTR(shim_mremap(src + HUGE / 2, HUGE / 4, HUGE / 4, MOVE_TO | MUST, dst), dst);
        CHECK_HOLDS_FROM(dst, HUGE / 4, 1, HUGE / 2);
    } else {
        refused(src + HUGE / 2, HUGE / 4, 1, HUGE / 2);
    }
    CHECK_HOLDS(src, HUGE / 2, 1);
    CHECK_HOLDS_FROM(src + 3 * HUGE / 4, HUGE / 4, 1, 3 * HUGE / 4);
}

static char ksm_before[32];
static const char ksm_path[] = "/sys/kernel/mm/ksm/run";

static void restore_ksm(void)
{
    write_text(ksm_path, ksm_before);
}

static void ksm_pages(void)
{
    enum { PAGES = 64 };
    char *area = map_at(reserve(2 * PAGES * PAGE), PAGE, RW);
    area[0] = 1;
    char *src = island(PAGES * PAGE);
    for (size_t i = 0; i < PAGES; i++) {
        fill(src + i * PAGE, PAGE, 1); /* all alike */
    }
    if (madvise(src, PAGES * PAGE, MADV_MERGEABLE) != 0) {
        test_skip("no KSM here: %s", strerror(errno));
    }
    snprintf(ksm_before, sizeof(ksm_before), "%ld", read_number(ksm_path));
    if (read_number(ksm_path) != 1) {
        if (!write_text(ksm_path, "1")) {
            test_skip("KSM does not run and may not be started");
        }
        test_at_end(restore_ksm);
    }
    long long deadline = now_ms() + 30000;
    while (read_number("/proc/self/ksm_merging_pages") < PAGES / 2) {
        if (now_ms() > deadline) {
            test_skip("ksmd merged nothing within 30 s");
        }
        sched_yield();
    }
    char *dst = area + PAGE;
    if (can_relocate()) {
        CHECK_PTR(shim_mremap(src, PAGES * PAGE, PAGES * PAGE, MOVE_TO | MUST, dst), dst);
    } else {
        CHECK_PTR(shim_mremap(src, PAGES * PAGE, PAGES * PAGE, MOVE_TO | RELOC, dst), dst);
    }
    for (size_t i = 0; i < PAGES; i++) {
        CHECK_HOLDS(dst + i * PAGE, PAGE, 1);
    }
}

static const struct test_case cases[] = {
    {"shared_anonymous", shared_anonymous, NULL},
    {"memfd_shared", memfd_shared, NULL},
    {"file_private", file_private, NULL},
    {"hugetlb", hugetlb, NULL},
    {"vdso", vdso, NULL},
    {"forked_child", forked_child, NULL},
    {"living_child", living_child, NULL},
    {"living_child_must", living_child_must, NULL},
    {"child_gone", child_gone, NULL},
    {"child_unmapped", child_unmapped, NULL},
    {"child_execed", child_execed, NULL},
    {"dontfork", dontfork, NULL},
    {"faulted_after_fork", faulted_after_fork, NULL},
    {"part_of_a_huge_page", part_of_a_huge_page, NULL},
    {"ksm_pages", ksm_pages, NULL},
};

int main(int argc, char **argv)
{
    return test_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
