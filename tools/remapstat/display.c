/* SPDX-License-Identifier: MIT */
#include "display.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remapstat.h"

void say(const char *format, ...)
{
    va_list ap;

    fputs("remapstat: ", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
}

void out_of_memory(void)
{
    say("out of memory");
    exit(STATUS_FAILURE);
}

const char *display_escape(char *out, size_t size, const char *in)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;

    for (; *in; in++) {
        unsigned char c = (unsigned char)*in;
        size_t need = c == '\\' ? 2 : c >= ' ' && c <= '~' ? 1 : 4;
        if (n + need >= size)
            break;
        if (need == 4) {
            out[n++] = '\\';
            out[n++] = 'x';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        } else {
            if (need == 2)
                out[n++] = '\\';
            out[n++] = (char)c;
        }
    }
    out[n] = '\0';
    return out;
}

const char *display_bytes(char out[DISPLAY_UNIT], uint64_t bytes)
{
    static const char units[] = "KMGTPE";
    uint64_t whole = bytes, rest = 0;
    int unit = -1;

    while (whole >= 1024) {
        rest = whole % 1024;
        whole /= 1024;
        unit++;
    }
    if (unit < 0)
        snprintf(out, DISPLAY_UNIT, "%" PRIu64, bytes);
    else if (whole >= 100 || rest * 10 / 1024 == 0)
        snprintf(out, DISPLAY_UNIT, "%" PRIu64 "%c", whole, units[unit]);
    else
        snprintf(out, DISPLAY_UNIT, "%" PRIu64 ".%" PRIu64 "%c", whole, rest * 10 / 1024,
                 units[unit]);
    return out;
}

const char *display_ns(char out[DISPLAY_UNIT], uint64_t ns)
{
    if (ns < 1000)
        snprintf(out, DISPLAY_UNIT, "%" PRIu64 "ns", ns);
    else if (ns < 1000000)
        snprintf(out, DISPLAY_UNIT, "%.1fus", (double)ns / 1e3);
    else if (ns < 1000000000)
        snprintf(out, DISPLAY_UNIT, "%.1fms", (double)ns / 1e6);
    else
        snprintf(out, DISPLAY_UNIT, "%.2fs", (double)ns / 1e9);
    return out;
}

const char *display_errno(char out[DISPLAY_UNIT], int error)
{
#ifdef REMAPSTAT_HAVE_STRERRORNAME
    const char *name = strerrorname_np(error);
    if (name)
        return name;
#endif
    snprintf(out, DISPLAY_UNIT, "errno %d", error);
    return out;
}
