/* SPDX-License-Identifier: MIT */
/*
 * Keys and help texts of the enums of remap_stats.h, by index. A file of a later minor version may
 * count under an index that this program does not know: name_of() makes up a key for it.
 */
#ifndef REMAPSTAT_NAMES_H
#define REMAPSTAT_NAMES_H

#include <stddef.h>

#include "display.h"

struct name {
    const char *key;
    const char *help;
};

struct names {
    const char *kind; /* "reason" */
    const struct name *list;
    size_t count; /* known here */
};

extern const struct names outcome_names, reason_names, step_names, tier_names, feature_names,
    answer_names, way_names, why_names;

/* Returns the key, or `buf` with a text such as "reason_29". */
const char *name_of(const struct names *names, size_t index, char buf[DISPLAY_UNIT]);
/* Returns the help text, or an admission. */
const char *help_of(const struct names *names, size_t index);

#endif
