/* SPDX-License-Identifier: MIT */
/* Which libremap.so `remapstat run` loads, and how it gets into LD_PRELOAD. */
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "display.h"
#include "run.h"

#define LIBRARY "libremap.so"

/* True and its absolute path if it is a file that we may read. */
static bool take(char out[PATH_MAX], const char *path)
{
    struct stat st;

    return access(path, R_OK) == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
           realpath(path, out);
}

static bool take_pattern(char out[PATH_MAX], const char *directory, const char *pattern)
{
    char path[PATH_MAX + 64];
    bool found = false;
    glob_t g;

    snprintf(path, sizeof(path), "%s/%s", directory, pattern);
    if (glob(path, 0, NULL, &g) != 0)
        return false;
    for (size_t i = 0; i < g.gl_pathc && !found; i++)
        found = take(out, g.gl_pathv[i]);
    globfree(&g);
    return found;
}

static bool search(char out[PATH_MAX])
{
    char directory[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", directory, sizeof(directory) - 1);
    char *slash;

    directory[n > 0 ? n : 0] = '\0';
    slash = strrchr(directory, '/');
    if (slash) {
        char path[PATH_MAX + sizeof(LIBRARY) + 1];
        *slash = '\0';
        snprintf(path, sizeof(path), "%s/" LIBRARY, directory);
        if (take(out, path))
            return true;
    }
    if (take(out, REMAPSTAT_LIBRARY))
        return true;
    /* A tree that was installed under one prefix and moved to another. */
    return slash && (take_pattern(out, directory, "../lib*/remap/" LIBRARY) ||
                     take_pattern(out, directory, "../lib*/*/remap/" LIBRARY));
}

bool run_find_library(char out[PATH_MAX], const char *wanted)
{
    char escaped[256];

    if (wanted && !take(out, wanted)) {
        say("%s cannot be used as the library: %s",
            display_escape(escaped, sizeof(escaped), wanted),
            access(wanted, R_OK) == 0 ? "it is not a regular file" : strerror(errno));
        return false;
    }
    if (!wanted && !search(out)) {
        say("no " LIBRARY " beside this command, at " REMAPSTAT_LIBRARY
            " or in a lib directory next to it; say where it is with --lib PATH");
        return false;
    }
    /* ld.so knows no way to quote these. */
    if (strpbrk(out, ": \t\n")) {
        say("%s: LD_PRELOAD cannot hold a path with a colon or a blank; move the library",
            display_escape(escaped, sizeof(escaped), out));
        return false;
    }
    return true;
}

/* The entry of LD_PRELOAD that is a libremap.so, and its length. */
static const char *present(const char *list, size_t *len)
{
    const size_t name = sizeof(LIBRARY) - 1;

    for (; *list; list += *len) {
        list += strspn(list, ": ");
        *len = strcspn(list, ": ");
        if (*len >= name && strncmp(list + *len - name, LIBRARY, name) == 0 &&
            (*len == name || list[*len - name - 1] == '/'))
            return list;
    }
    return NULL;
}

bool run_add_preload(const char *library)
{
    const char *old = getenv("LD_PRELOAD"), *there;
    char *value, escaped[256], *entry;
    size_t len;
    int result;

    if (!old || !*old)
        return setenv("LD_PRELOAD", library, 1) == 0 || (out_of_memory(), false);
    there = present(old, &len);
    if (there) {
        /* Two copies would both stand in front of mremap(). */
        if (len != strlen(library) || strncmp(there, library, len) != 0) {
            entry = strndup(there, len);
            say("LD_PRELOAD already names %s: that one is used",
                display_escape(escaped, sizeof(escaped), entry ? entry : ""));
            free(entry);
        }
        return true;
    }
    if (asprintf(&value, "%s:%s", old, library) < 0)
        out_of_memory();
    result = setenv("LD_PRELOAD", value, 1);
    free(value);
    if (result != 0)
        out_of_memory();
    return true;
}
