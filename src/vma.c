/* SPDX-License-Identifier: MIT */
#include "vma.h"

#include <stdatomic.h>
#include <sys/auxv.h>
#include <sys/sysmacros.h>

#include "kernel.h"
#include "text.h"

/*
 * A private mapping without an inode is anonymous unless the kernel gave it a name of its own
 * ([vdso], [vvar], [uprobes]...). [heap] is ordinary; [stack] grows down and is left alone.
 */
static bool is_ordinary_name(const char *name)
{
    return *name == '\0' || text_equal(name, "[heap]") || text_starts(name, "[anon:");
}

/* A private mapping of /dev/zero is anonymous memory to the kernel (no vm_ops). If a file of that
 * name turns out to be something else, UFFDIO_MOVE refuses and the move is made plainly. */
static bool is_zero_name(const char *name)
{
    return text_equal(name, "/dev/zero");
}

/* What several VMAs in one mremap() may be besides anonymous: a device's driver may choose its own
 * addresses, and a special mapping is the kernel's. */
static bool is_file_name(const char *name)
{
    return *name == '/' &&
           (!text_starts(name, "/dev/") || text_starts(name, "/dev/shm/") ||
            text_starts(name, "/dev/hugepages/") || text_equal(name, "/dev/zero (deleted)"));
}

static enum vma_kind kind_of(bool shared, uint64_t inode, const char *name)
{
    if (!shared && (inode != 0 ? is_zero_name(name) : is_ordinary_name(name)))
        return VMA_ANON;
    return inode != 0 && is_file_name(name) ? VMA_FILE : VMA_OTHER;
}

/* The same by device and inode, of which the first is asked for once. */
static bool is_dev_zero(const struct k_procmap_query *q)
{
    static _Atomic uint64_t known; /* inode; 0: not asked yet */
    static _Atomic uint64_t device;
    uint64_t inode = atomic_load_explicit(&known, memory_order_acquire);
    if (inode == 0) {
        struct stat st = {.st_ino = UINT64_MAX};
        k_fstatat(AT_FDCWD, "/dev/zero", &st, 0);
        inode = st.st_ino;
        atomic_store_explicit(&device, st.st_dev, memory_order_relaxed);
        atomic_store_explicit(&known, inode, memory_order_release);
    }
    return q->inode == inode && makedev(q->dev_major, q->dev_minor) ==
                                    atomic_load_explicit(&device, memory_order_relaxed);
}

static long query_once(int maps_fd, uint64_t flags, uintptr_t addr, struct k_procmap_query *q,
                       char *name, size_t size)
{
    if (size != 0)
        name[0] = '\0';
    *q = (struct k_procmap_query){
        .size = sizeof(*q),
        .query_flags = flags,
        .query_addr = addr,
        .vma_name_size = (uint32_t)size,
        .vma_name_addr = (uintptr_t)name,
    };
    return k_ioctl(maps_fd, K_PROCMAP_QUERY, q);
}

/* The main stack, the one writable mapping of the kernel's own: AT_RANDOM is there. */
static bool is_main_stack(const struct k_procmap_query *q)
{
    uintptr_t on_stack = getauxval(AT_RANDOM);
    return q->vma_start <= on_stack && on_stack < q->vma_end;
}

/* Asks for the name only where it decides: composing a file's path takes as long as all the rest.
 * What is a file is one to `want_files` alone. */
static long query(int maps_fd, uint64_t flags, uintptr_t addr, bool want_files, struct vma *out)
{
    struct k_procmap_query q;
    char name[128];
    long ret = query_once(maps_fd, flags, addr, &q, NULL, 0);
    if (k_failed(ret))
        return ret;
    bool shared = (q.vma_flags & K_PROCMAP_SHARED) != 0;
    enum vma_kind kind = VMA_OTHER;
    uint64_t readable = K_PROCMAP_READABLE | K_PROCMAP_EXECUTABLE;
    /* The kernel's own mappings are readable or executable and not writable. */
    bool ordinary = (q.vma_flags & K_PROCMAP_WRITABLE) || !(q.vma_flags & readable);
    if (!shared && q.inode == 0 && ordinary) {
        kind = is_main_stack(&q) ? VMA_OTHER : VMA_ANON;
    } else if (!shared && q.inode != 0 && is_dev_zero(&q)) {
        kind = VMA_ANON;
    } else if ((!shared && q.inode == 0) || want_files) {
        ret = query_once(maps_fd, flags, addr, &q, name, sizeof(name));
        if (k_failed(ret) && ret != -ENAMETOOLONG)
            return ret;
        /* A path that is longer than that is no device's. */
        kind = ret == -ENAMETOOLONG ? VMA_FILE : kind_of(shared, q.inode, name);
    }
    *out = (struct vma){
        .start = (uintptr_t)q.vma_start,
        .end = (uintptr_t)q.vma_end,
        .prot = ((q.vma_flags & K_PROCMAP_READABLE) ? PROT_READ : 0) |
                ((q.vma_flags & K_PROCMAP_WRITABLE) ? PROT_WRITE : 0) |
                ((q.vma_flags & K_PROCMAP_EXECUTABLE) ? PROT_EXEC : 0),
        .kind = kind,
        .has_file = q.inode != 0,
    };
    return 0;
}

/* One line: "start-end rwxp offset major:minor inode   name". False if it is not one. */
static bool parse_line(const char *s, struct vma *out)
{
    uint64_t start;
    uint64_t end;
    uint64_t ignored;
    uint64_t inode;
    if (!text_number(&s, 16, &start) || *s++ != '-' || !text_number(&s, 16, &end) || *s++ != ' ')
        return false;
    int prot = 0;
    if (*s != '\0' && *s++ == 'r')
        prot |= PROT_READ;
    if (*s != '\0' && *s++ == 'w')
        prot |= PROT_WRITE;
    if (*s != '\0' && *s++ == 'x')
        prot |= PROT_EXEC;
    bool shared = *s == 's';
    if (*s++ == '\0' || *s++ != ' ' || !text_number(&s, 16, &ignored) || *s++ != ' ' ||
        !text_number(&s, 16, &ignored) || *s++ != ':' || !text_number(&s, 16, &ignored) ||
        *s++ != ' ' || !text_number(&s, 10, &inode))
        return false;
    while (*s == ' ')
        s++;
    *out = (struct vma){
        .start = (uintptr_t)start,
        .end = (uintptr_t)end,
        .prot = prot,
        .kind = kind_of(shared, inode, s),
        .has_file = inode != 0,
    };
    return true;
}

/* Lines of a /proc file, without libc. What exceeds a line's room is cut off. */
struct line_reader {
    int fd;
    uint64_t offset;
    size_t have;
    size_t next;
    char chunk[1024];
    char line[256];
};

/* 1: a line was read; 0: end; or -errno. */
static long next_line(struct line_reader *r)
{
    size_t length = 0;
    for (;;) {
        if (r->next == r->have) {
            long got = k_pread(r->fd, r->chunk, sizeof(r->chunk), r->offset);
            if (got == -EINTR)
                continue;
            if (got <= 0)
                return got;
            r->offset += (uint64_t)got;
            r->have = (size_t)got;
            r->next = 0;
        }
        char c = r->chunk[r->next++];
        if (c == '\n') {
            r->line[length] = '\0';
            return 1;
        }
        if (length + 1 < sizeof(r->line))
            r->line[length++] = c;
    }
}

static long list_lines(int maps_fd, uintptr_t start, uintptr_t end, struct vma *out, size_t max)
{
    struct line_reader reader = {.fd = maps_fd};
    size_t count = 0;
    long ret = 1;
    while (count < max && (ret = next_line(&reader)) == 1) {
        struct vma v;
        if (!parse_line(reader.line, &v))
            return -EIO;
        if (v.start >= end)
            break;
        if (start < v.end)
            out[count++] = v;
    }
    return ret < 0 ? ret : (long)count;
}

/*
 * The text comes in pieces. The kernel goes on at the address where it stopped, but only as long as
 * nobody else reads from the same open file: then it counts bytes from the beginning, of a text
 * that may have changed, and a line can be cut anywhere. So a second reader opens one of its own.
 */
static long list_text(int maps_fd, uintptr_t start, uintptr_t end, struct vma *out, size_t max)
{
    static _Atomic bool taken; /* who never comes back (a longjmp) costs the others an open */
    if (!atomic_exchange_explicit(&taken, true, memory_order_acquire)) {
        long ret = list_lines(maps_fd, start, end, out, max);
        atomic_store_explicit(&taken, false, memory_order_release);
        return ret;
    }
    long fd = k_openat(AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    if (k_failed(fd))
        return fd;
    long ret = list_lines((int)fd, start, end, out, max);
    k_close((int)fd);
    return ret;
}

static long list_queries(int maps_fd, uintptr_t start, uintptr_t end, struct vma *out, size_t max)
{
    size_t count = 0;
    while (count < max && start < end) {
        long ret = query(maps_fd, K_PROCMAP_COVERING_OR_NEXT, start, true, &out[count]);
        if (ret == -ENOENT || (ret == 0 && out[count].start >= end))
            break;
        if (ret != 0)
            return ret;
        start = out[count++].end;
    }
    return (long)count;
}

/* "VmFlags: rd wr mr": each flag is two letters after a space. */
static bool line_has_flag(const char *s, const char *flag)
{
    for (; *s != '\0'; s++) {
        if (s[0] == ' ' && text_starts(s + 1, flag))
            return true;
    }
    return false;
}

/* The line of smaps about the VMA at addr that starts with `field`, into r->line. */
static bool find_in_smaps(uintptr_t addr, const char *field, struct line_reader *r)
{
    long fd = k_openat(AT_FDCWD, "/proc/self/smaps", O_RDONLY | O_CLOEXEC, 0);
    if (k_failed(fd))
        return false;
    *r = (struct line_reader){.fd = (int)fd};
    bool here = false;
    bool found = false;
    while (!found && next_line(r) == 1) {
        struct vma v;
        if (parse_line(r->line, &v))
            here = v.start <= addr && addr < v.end;
        else
            found = here && text_starts(r->line, field);
    }
    k_close((int)fd);
    return found;
}

bool vma_has_flag(uintptr_t addr, const char *flag, const char *or_flag)
{
    struct line_reader reader;
    return find_in_smaps(addr, "VmFlags:", &reader) &&
           (line_has_flag(reader.line, flag) || line_has_flag(reader.line, or_flag));
}

bool vma_has_huge(uintptr_t addr)
{
    static const char field[] = "AnonHugePages:";
    struct line_reader reader;
    if (!find_in_smaps(addr, field, &reader))
        return false;
    uint64_t kib = 0;
    const char *s = reader.line + sizeof(field) - 1;
    while (*s == ' ')
        s++;
    return text_number(&s, 10, &kib) && kib != 0;
}

long vma_at(int maps_fd, bool use_query, uintptr_t addr, struct vma *out)
{
    if (use_query)
        return query(maps_fd, 0, addr, false, out);
    long ret = list_text(maps_fd, addr, addr + 1, out, 1);
    return ret == 0 ? -ENOENT : ret < 0 ? ret : 0;
}

long vma_list(int maps_fd, bool use_query, uintptr_t start, uintptr_t end, struct vma *out,
              size_t max)
{
    return use_query ? list_queries(maps_fd, start, end, out, max)
                     : list_text(maps_fd, start, end, out, max);
}
