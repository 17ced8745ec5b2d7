/* SPDX-License-Identifier: MIT */
#include "starts.h"

#include <dlfcn.h>
#include <link.h>

#include "text.h"

static const char *const starting[] = {
    "execl",        "execle",  "execlp",   "execv",       "execve",       "execvp",
    "execvpe",      "fexecve", "execveat", "posix_spawn", "posix_spawnp", "pidfd_spawn",
    "pidfd_spawnp", "system",  "popen",    "wordexp",
};

/* What is needed of an object's dynamic section. */
struct object {
    const ElfW(Sym) * symbols;
    const char *strings;
    const ElfW(Rela) * tables[2]; /* DT_RELA, DT_JMPREL */
    size_t sizes[2];              /* in bytes */
};

static bool is_starting(const char *name)
{
    for (size_t i = 0; i < sizeof(starting) / sizeof(*starting); i++) {
        if (text_equal(name, starting[i]))
            return true;
    }
    return false;
}

/* glibc has put addresses there, musl leaves offsets. */
static uintptr_t address(const struct dl_phdr_info *info, uintptr_t value)
{
    return value < info->dlpi_addr ? value + info->dlpi_addr : value;
}

static struct object read_dynamic(const struct dl_phdr_info *info, const ElfW(Dyn) * dynamic)
{
    struct object o = {0};
    bool rela = true;
    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        uintptr_t at = address(info, dynamic->d_un.d_ptr);
        switch (dynamic->d_tag) {
        case DT_SYMTAB:
            o.symbols = (const ElfW(Sym) *)at;
            break;
        case DT_STRTAB:
            o.strings = (const char *)at;
            break;
        case DT_RELA:
            o.tables[0] = (const ElfW(Rela) *)at;
            break;
        case DT_RELASZ:
            o.sizes[0] = dynamic->d_un.d_val;
            break;
        case DT_JMPREL:
            o.tables[1] = (const ElfW(Rela) *)at;
            break;
        case DT_PLTRELSZ:
            o.sizes[1] = dynamic->d_un.d_val;
            break;
        case DT_PLTREL:
            rela = dynamic->d_un.d_val == DT_RELA;
            break;
        default:
            break;
        }
    }
    if (!o.symbols || !o.strings || !rela)
        o.sizes[0] = o.sizes[1] = 0;
    return o;
}

/* dl_iterate_phdr(): 1 ends the walk. */
static int look_at(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    const ElfW(Dyn) *dynamic = NULL;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            dynamic = (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    }
    if (!dynamic)
        return 0;
    struct object o = read_dynamic(info, dynamic);
    for (int t = 0; t < 2; t++) {
        size_t count = o.tables[t] ? o.sizes[t] / sizeof(ElfW(Rela)) : 0;
        for (size_t i = 0; i < count; i++) {
            const ElfW(Sym) *symbol = &o.symbols[ELF64_R_SYM(o.tables[t][i].r_info)];
            if (symbol->st_shndx == SHN_UNDEF && is_starting(o.strings + symbol->st_name))
                return 1;
        }
    }
    return 0;
}

bool starts_others(void)
{
    return dl_iterate_phdr(look_at, NULL) != 0;
}

/* What follows the last slash. */
static const char *base_name(const char *path)
{
    const char *base = path;
    for (; *path != '\0'; path++) {
        if (*path == '/')
            base = path + 1;
    }
    return base;
}

bool starts_others_with_us(char *const *envp)
{
    Dl_info info;
    if (!dladdr((const void *)(uintptr_t)&starts_others_with_us, &info) || !info.dli_fname)
        return false;
    const char *us = base_name(info.dli_fname);
    size_t length = text_length(us);
    while (envp && *envp && !text_starts(*envp, "LD_PRELOAD="))
        envp++;
    if (!envp || !*envp)
        return false;
    /* Paths separated by spaces or colons. */
    const char *s = *envp + sizeof("LD_PRELOAD=") - 1;
    for (const char *word = s;; s++) {
        if (*s == '/')
            word = s + 1;
        if (*s != ' ' && *s != ':' && *s != '\0')
            continue;
        if ((size_t)(s - word) == length && text_starts(word, us))
            return true;
        if (*s == '\0')
            return false;
        word = s + 1;
    }
}
