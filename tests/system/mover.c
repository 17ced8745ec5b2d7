/* SPDX-License-Identifier: MIT */
/*
 * A small program for other tests: does what it is told on stdin, one line each, and answers each
 * with one line. At the end of its input it exits normally.
 *
 *   move N     N relocating moves; answers with `relocated` as the library counts it
 *   shared N   N moves of a shared mapping
 *   fail N     N calls that fail with EINVAL
 *   overlap N  N moves that the kernel refuses with EINVAL
 *   place N    N growths in place
 *   close      closes every descriptor above 2
 *   fork       forks a child that takes over (answers its pid); the parent waits for it
 *   exec       executes itself again
 *   title      overwrites its environment, as programs do that show a title of their own
 *   load       opens the library $MOVER_LIBRARY and closes it again; 1 if both worked
 *   grow N     makes a block of 160 KiB grow N times, by realloc()
 *   pid, quit (exit 0), status N (exit N), abort, nothing
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#pragma weak remap_statistics

#define LEN (4 * PAGE)

static void move(unsigned count)
{
    char *area = reserve((count + 1) * LEN);
    for (unsigned i = 0; i < count; i++) {
        char *src = piece(LEN, i);
        char *dst = area + i * LEN;
        CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
        CHECK_HOLDS(dst, LEN, i);
    }
    munmap(area, (count + 1) * LEN);
}

static void shared(unsigned count)
{
    char *area = reserve(2 * LEN);
    CHECK(mmap(area, LEN, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == area);
    for (unsigned i = 0; i < count; i++) {
        char *src = area + (i % 2) * LEN;
        char *dst = area + (1 - i % 2) * LEN;
        CHECK_PTR(mremap(src, LEN, LEN, MOVE_TO, dst), dst);
    }
}

static void fail(unsigned count)
{
    char *src = piece(LEN, 1);
    for (unsigned i = 0; i < count; i++) {
        CHECK_ERRNO(mremap(src, LEN, 0, MREMAP_MAYMOVE), EINVAL);
    }
}

static void overlap(unsigned count)
{
    char *src = piece(LEN, 1);
    for (unsigned i = 0; i < count; i++) {
        CHECK_ERRNO(mremap(src, LEN, LEN, MOVE_TO, src + PAGE), EINVAL);
    }
}

static void grow_in_place(unsigned count)
{
    char *src = island((count + 1) * PAGE);
    CHECK_OK(munmap(src + PAGE, count * PAGE));
    fill(src, PAGE, 1);
    for (unsigned i = 1; i <= count; i++) {
        CHECK_PTR(mremap(src, i * PAGE, (i + 1) * PAGE, MREMAP_MAYMOVE), src);
    }
}

static void grow(unsigned count)
{
    size_t size = 160 * KIB;
    char *block = malloc(size);
    CHECK(block != NULL);
    fill(block, size, 1);
    for (unsigned i = 0; i < count; i++) {
        void *in_the_way = malloc(160 * KIB);
        block = realloc(block, size + size / 4);
        CHECK(block != NULL);
        CHECK_HOLDS(block, size, 1);
        size += size / 4;
        fill(block, size, 1);
        free(in_the_way);
    }
    free(block);
}

static bool load(void)
{
    void *library = dlopen(getenv("MOVER_LIBRARY"), RTLD_NOW);
    return library && dlclose(library) == 0;
}

static void answer(long number)
{
    dprintf(1, "%ld\n", number);
}

static long relocated(void)
{
    return remap_statistics ? (long)relocated_now() : -1;
}

static void fork_and_follow(void)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid > 0) {
        int status = 0;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
    }
    answer(getpid());
}

static bool obey(const char *line)
{
    char word[32] = "";
    unsigned count = 0;
    int fields = sscanf(line, "%31s %u", word, &count);
    if (strcmp(word, "move") == 0) {
        move(fields == 2 ? count : 1);
        answer(relocated());
    } else if (strcmp(word, "shared") == 0) {
        shared(count);
        answer(0);
    } else if (strcmp(word, "fail") == 0) {
        fail(count);
        answer(0);
    } else if (strcmp(word, "overlap") == 0) {
        overlap(count);
        answer(0);
    } else if (strcmp(word, "place") == 0) {
        grow_in_place(count);
        answer(0);
    } else if (strcmp(word, "close") == 0) {
        syscall(SYS_close_range, 3, ~0u, 0);
        answer(0);
    } else if (strcmp(word, "fork") == 0) {
        fork_and_follow();
    } else if (strcmp(word, "exec") == 0) {
        execl("/proc/self/exe", "mover", (char *)NULL);
    } else if (strcmp(word, "title") == 0) {
        for (char **entry = environ; *entry; entry++) {
            memset(*entry, 'x', strlen(*entry));
        }
        answer(0);
    } else if (strcmp(word, "load") == 0) {
        answer(load());
    } else if (strcmp(word, "grow") == 0) {
        grow(count);
        answer(0);
    } else if (strcmp(word, "pid") == 0) {
        answer(getpid());
    } else if (strcmp(word, "status") == 0) {
        exit((int)count);
    } else if (strcmp(word, "abort") == 0) {
        abort();
    } else if (strcmp(word, "quit") == 0) {
        return false;
    } else {
        answer(0);
    }
    return true;
}

/* Byte by byte, so that nothing is lost in a buffer when a child or another program takes over. */
static bool read_line(char *line, size_t size)
{
    size_t n = 0;
    for (;;) {
        char c;
        ssize_t got = read(0, &c, 1);
        if (got == -1 && errno == EINTR) {
            continue;
        }
        if (got != 1) {
            return false;
        }
        if (c == '\n') {
            line[n] = '\0';
            return true;
        }
        if (n + 1 < size) {
            line[n++] = c;
        }
    }
}

int main(void)
{
    char line[128];
    while (read_line(line, sizeof(line)) && obey(line)) {
    }
    return 0;
}
