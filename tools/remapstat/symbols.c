/* SPDX-License-Identifier: MIT */
#include "symbols.h"

#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "display.h"
#include "perfmap.h"
#include "procfs.h"
#include "statsfile.h"

struct file {
    uint64_t start, end, inode;
    char *name;
};

struct symbols {
    struct procfs p;
    int root; /* of the process */
    Dwfl *dwfl;
    struct perfmap *perfmap;
    size_t count;
    struct file *files; /* what is mapped, by address */
};

/* libdwfl hands nothing through to find_elf(). */
static struct symbols *current;

static void note_file(const struct procfs_map *map, void *arg)
{
    struct symbols *s = arg;

    if (map->name[0] != '/' && strcmp(map->name, "[vdso]") != 0)
        return;
    if (s->count % 256 == 0) {
        s->files = reallocarray(s->files, s->count + 256, sizeof(*s->files));
        if (!s->files)
            out_of_memory();
    }
    s->files[s->count++] = (struct file){map->start, map->end, map->inode, strdup(map->name)};
}

/* (dwfl_linux_proc_report() gives up where two names of one file are mapped next to each other.) */
static bool report(struct symbols *s)
{
    char vdso[32];

    snprintf(vdso, sizeof(vdso), "[vdso: %d]", (int)s->p.pid);
    dwfl_report_begin(s->dwfl);
    for (size_t i = 0, n; i < s->count; i += n) {
        const struct file *f = &s->files[i];
        for (n = 1; i + n < s->count && f[n].inode == f->inode && f->inode && f->name &&
                    f[n].name && strcmp(f[n].name, f->name) == 0;
             n++)
            ;
        if (f->name)
            dwfl_report_module(s->dwfl, f->inode ? f->name : vdso, f->start, f[n - 1].end);
    }
    return dwfl_report_end(s->dwfl, NULL, NULL) == 0;
}

/* The file that is mapped at `base`, not one that has taken its place or its name. */
static bool is_mapped(int fd, uint64_t base)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return false;
    for (size_t i = 0; i < current->count; i++) {
        if (current->files[i].start == base)
            return current->files[i].inode == st.st_ino;
    }
    return false;
}

static int find_elf(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
                    char **file_name, Elf **elf)
{
    int fd;

    if (name[0] != '/') /* the vDSO, from memory */
        return dwfl_linux_proc_find_elf(module, userdata, name, base, file_name, elf);
    fd = statsfile_open_below(current->root, name);
    if (fd < 0 || !is_mapped(fd, base)) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    /* Read, not mapped: whoever owns the file may cut it short meanwhile. */
    elf_version(EV_CURRENT);
    *elf = elf_begin(fd, ELF_C_READ, NULL);
    *file_name = strdup(name);
    return fd;
}

/* To libdwfl an object reaches from its first mapping to its last, whatever lies in between. */
static bool is_in_file(const struct symbols *s, uint64_t address)
{
    for (size_t i = 0; i < s->count; i++) {
        if (address >= s->files[i].start && address < s->files[i].end)
            return true;
    }
    return false;
}

void symbols_close(struct symbols *s)
{
    if (!s)
        return;
    if (s->dwfl)
        dwfl_end(s->dwfl);
    perfmap_close(s->perfmap);
    for (size_t i = 0; i < s->count; i++)
        free(s->files[i].name);
    free(s->files);
    if (s->root >= 0)
        close(s->root);
    procfs_close(&s->p);
    free(s);
    current = NULL;
}

struct symbols *symbols_open(pid_t pid)
{
    static const Dwfl_Callbacks callbacks = {.find_elf = find_elf,

                                             /* By build ID only, below /usr/lib/debug: the name in
                                              * .gnu_debuglink is the stranger's. */
                                             .find_debuginfo = dwfl_build_id_find_debuginfo};
    struct symbols *s = calloc(1, sizeof(*s));
    struct procfs_status status;

    if (!s)
        out_of_memory();
    unsetenv("DEBUGINFOD_URLS"); /* nothing is fetched */
    s->root = -1;
    if (procfs_open(&s->p, pid) != 0) {
        free(s);
        return NULL;
    }
    current = s;
    s->root = openat(s->p.dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    s->dwfl = dwfl_begin(&callbacks);
    if (procfs_maps(&s->p, note_file, s) != 0 || procfs_status(&s->p, &status) != 0 || !s->dwfl ||
        !report(s) || procfs_status(&s->p, &status) != 0) {
        symbols_close(s);
        return NULL;
    }
    s->perfmap = perfmap_open(&s->p, &status);
    return s;
}

struct symbol symbols_find(struct symbols *s, uint64_t return_address)
{
    const uint64_t address = return_address - 1;
    struct symbol out = {.offset = return_address};
    Dwfl_Module *module;
    Dwfl_Line *line;
    GElf_Off offset = 0;
    GElf_Sym symbol;
    Dwarf_Addr start;

    if (!s)
        return out;
    out.function = perfmap_find(s->perfmap, address, &start);
    module = out.function || !is_in_file(s, address) ? NULL : dwfl_addrmodule(s->dwfl, address);
    if (!module) {
        out.offset = out.function ? return_address - start : return_address;
        return out;
    }
    out.object = dwfl_module_info(module, NULL, &start, NULL, NULL, NULL, NULL, NULL);
    out.offset = return_address - start;
    out.function = dwfl_module_addrinfo(module, address, &offset, &symbol, NULL, NULL, NULL);
    if (out.function)
        out.offset = offset + 1;
    line = dwfl_module_getsrc(module, address);
    if (line)
        out.file = dwfl_lineinfo(line, NULL, &out.line, NULL, NULL, NULL);
    return out;
}
