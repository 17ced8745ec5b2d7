/* SPDX-License-Identifier: MIT */
/*
 * For sites.sh: moves memory 3 times from first_place() and 5 times from second_place(), and once
 * from second_place() through code on a page of its own, as a JIT compiler makes it. Answers with
 * the address of that page (0: not on this processor) and waits for the end of its input.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib.h"

#define LEN (4 * PAGE)

static char *slots[2];
static unsigned at;

static void go(void)
{
    char *to = slots[1 - at];
    CHECK_PTR(mremap(slots[at], LEN, LEN, MOVE_TO, to), to);
    at = 1 - at;
}

void first_place(void);
void second_place(void);

__attribute__((noinline)) void first_place(void)
{
    go();
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) void second_place(void)
{
    go();
    __asm__ volatile("");
}

/* push %rbp; mov %rsp, %rbp; call *%rdi; pop %rbp; ret */
static void *compile(void)
{
#if defined(__x86_64__)
    static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};
    char *page = map_at(reserve(PAGE), PAGE, RW);
    memcpy(page, code, sizeof(code));
    CHECK_OK(mprotect(page, PAGE, PROT_READ | PROT_EXEC));
    return page;
#else
    return NULL;
#endif
}

int main(void)
{
    char c;
    char *area = reserve(2 * LEN + 3 * PAGE);
    char *page = compile();
    slots[0] = area + PAGE;
    slots[1] = area + 2 * PAGE + LEN;
    map_at(slots[0], LEN, RW);
    fill(slots[0], LEN, 1);
    for (volatile int i = 0; i < 3; i++) {
        first_place();
    }
    for (volatile int i = 0; i < 5; i++) {
        second_place();
    }
    if (page) {
        ((void (*)(void (*)(void)))(uintptr_t)page)(second_place);
    }
    dprintf(1, "%lx\n", (unsigned long)page);
    while (read(0, &c, 1) > 0) {
    }
    return 0;
}
