/* SPDX-License-Identifier: MIT */
#include "memory.h"

#include <fcntl.h>
#include <unistd.h>

#define PAGE_PRESENT (UINT64_C(1) << 63)

bool memory_open(struct memory *m, const struct procfs *p)
{
    m->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    m->mem = openat(p->dir, "mem", O_RDONLY | O_CLOEXEC);
    m->pagemap = openat(p->dir, "pagemap", O_RDONLY | O_CLOEXEC);
    if (m->mem >= 0 && m->pagemap >= 0)
        return true;
    memory_close(m);
    return false;
}

void memory_close(struct memory *m)
{
    if (m->mem >= 0)
        close(m->mem);
    if (m->pagemap >= 0)
        close(m->pagemap);
    m->mem = m->pagemap = -1;
}

bool memory_read(const struct memory *m, uint64_t address, void *to, size_t size)
{
    uint64_t entry;

    if (address > INT64_MAX || address % m->page_size + size > m->page_size)
        return false;
    return pread(m->pagemap, &entry, sizeof(entry),
                 (off_t)(address / m->page_size * sizeof(entry))) == (ssize_t)sizeof(entry) &&
           entry & PAGE_PRESENT && pread(m->mem, to, size, (off_t)address) == (ssize_t)size;
}
