/* SPDX-License-Identifier: MIT */
#include "parse.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "display.h"

static bool number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;

    errno = 0;
    if (!isdigit((unsigned char)text[0]))
        return false;
    *out = strtoull(text, &end, 10);
    return !*end && !errno && *out >= 1 && *out <= max;
}

static bool refuse(const char *text, const char *what)
{
    char escaped[128];

    say("'%s' is not %s; see 'remapstat --help'", display_escape(escaped, sizeof(escaped), text),
        what);
    return false;
}

bool parse_pid(const char *text, uint64_t *out)
{
    return number(text, INT_MAX, out) || refuse(text, "a command or a process id");
}

bool parse_interval(const char *text, double *seconds)
{
    char *end;

    *seconds = strtod(text, &end);
    /* Written so that "nan" is refused. */
    if (end != text && !*end && *seconds >= 0.01 && *seconds <= 86400)
        return true;
    return refuse(text, "an interval (0.01 to 86400 seconds)");
}

bool parse_count(const char *text, uint64_t *out)
{
    return number(text, UINT64_MAX, out) || refuse(text, "a number of rows (1 and up)");
}
