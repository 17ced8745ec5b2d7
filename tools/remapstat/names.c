/* SPDX-License-Identifier: MIT */
#include "names.h"

#include <stdio.h>

#include "remap_stats.h"

#define ROW(id, key, help) {key, help},
static const struct name outcomes[] = {REMAP_OUTCOMES(ROW)};
static const struct name reasons[] = {REMAP_REASONS(ROW)};
static const struct name steps[] = {REMAP_STEPS(ROW)};
static const struct name tiers[] = {REMAP_TIERS(ROW)};
static const struct name features[] = {REMAP_FEATURES(ROW)};
static const struct name ways[] = {REMAP_WAYS(ROW)};
static const struct name whys[] = {REMAP_WHYS(ROW)};
static const struct name answers[] = {REMAP_ANSWERS(ROW)};
#undef ROW

#define NAMES(kind, list)                                                                          \
    {                                                                                              \
        kind, list, sizeof(list) / sizeof((list)[0])                                               \
    }
const struct names outcome_names = NAMES("outcome", outcomes);
const struct names reason_names = NAMES("reason", reasons);
const struct names step_names = NAMES("step", steps);
const struct names tier_names = NAMES("tier", tiers);
const struct names feature_names = NAMES("feature", features);
const struct names way_names = NAMES("way", ways);
const struct names why_names = NAMES("why", whys);
const struct names answer_names = NAMES("answer", answers);

const char *name_of(const struct names *names, size_t index, char buf[DISPLAY_UNIT])
{
    if (index < names->count)
        return names->list[index].key;
    snprintf(buf, DISPLAY_UNIT, "%s_%zu", names->kind, index);
    return buf;
}

const char *help_of(const struct names *names, size_t index)
{
    return index < names->count ? names->list[index].help : "of a later version than this command";
}
