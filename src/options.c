/* SPDX-License-Identifier: MIT */
#include "options.h"

#include "text.h"

#define ROW_(id, var, kind, def, allowed, help) {var, OPTION_##kind, def, allowed, help},
const struct remap_option_info remap_option_table[OPTION_COUNT] = {REMAP_OPTIONS(ROW_)};
#undef ROW_

/* Index of word s[0..n) in a list separated by '|' or ','; -1 if it is not there. */
static int word_index(const char *words, const char *s, size_t n)
{
    int index = 0;
    while (*words != '\0') {
        size_t len = 0;
        while (words[len] != '\0' && words[len] != '|' && words[len] != ',')
            len++;
        size_t same = 0;
        while (same < len && same < n && words[same] == s[same])
            same++;
        if (len == n && same == n)
            return index;
        words += len;
        if (*words != '\0')
            words++;
        index++;
    }
    return -1;
}

/* Digits, then at most one of K, M, G (either case), at most 2^63-1: an address range has no more.
 */
static bool parse_size(const char *s, uint64_t *out)
{
    uint64_t value;
    unsigned shift = 0;
    if (!text_number(&s, 10, &value))
        return false;
    if (*s == 'K' || *s == 'k')
        shift = 10;
    else if (*s == 'M' || *s == 'm')
        shift = 20;
    else if (*s == 'G' || *s == 'g')
        shift = 30;
    if (shift != 0)
        s++;
    if (*s != '\0' || value > ((uint64_t)INT64_MAX >> shift))
        return false;
    *out = value << shift;
    return true;
}

bool options_allow(const struct remap_options *o, enum remap_tier tier)
{
    int i = 0;
    while (o->engines[i] != REMAP_TIER_NONE && o->engines[i] != tier)
        i++;
    return o->engines[i] == tier && tier != REMAP_TIER_NONE;
}

/* Takes the next word of a comma-separated list: its index in `allowed`, or -1. *s: behind it. */
static int next_word(const char **s, const char *allowed)
{
    size_t n = 0;
    while ((*s)[n] != '\0' && (*s)[n] != ',')
        n++;
    int index = word_index(allowed, *s, n);
    *s += n;
    return index;
}

/* Names of tiers; of two equal ones the first counts, and nothing counts behind "none". */
static bool parse_engines(const char *s, struct remap_options *o)
{
    static const enum remap_tier tiers[] = {REMAP_TIER_NATIVE, REMAP_TIER_UFFD, REMAP_TIER_COPY,
                                            REMAP_TIER_NONE};
    struct remap_options found = {.engines = {REMAP_TIER_NONE}};
    int count = 0;
    bool ended = false;
    for (;; s++) {
        int index = next_word(&s, remap_option_table[OPTION_ENGINE].allowed);
        if (index < 0)
            return false;
        ended = ended || tiers[index] == REMAP_TIER_NONE;
        if (!ended && !options_allow(&found, tiers[index]))
            found.engines[count++] = tiers[index];
        if (*s == '\0')
            break;
    }
    for (int i = 0; i < REMAP_TIER_COUNT; i++)
        o->engines[i] = found.engines[i];
    return true;
}

/* Names of ways, in any order. */
static bool parse_catch(const char *s, struct remap_options *o)
{
    uint32_t found = 0;
    for (;; s++) {
        int way = next_word(&s, remap_option_table[OPTION_CATCH].allowed);
        if (way < 0)
            return false;
        found |= 1u << way;
        if (*s == '\0')
            break;
    }
    o->catch = found;
    return true;
}

static bool parse_number(const char *s, uint64_t most, uint64_t *out)
{
    uint64_t value;
    if (!text_number(&s, 10, &value) || *s != '\0' || value > most)
        return false;
    *out = value;
    return true;
}

/* Takes the value of one option; false: not valid, nothing was changed. */
static bool take_value(struct remap_options *o, enum remap_option id, const char *s)
{
    const struct remap_option_info *row = &remap_option_table[id];
    int word = row->kind == OPTION_WORD ? word_index(row->allowed, s, text_length(s)) : 0;
    if (word < 0 || (row->kind == OPTION_PATH && *s != '\0' && *s != '/'))
        return false;
    switch (id) {
    case OPTION_POLICY:
        o->policy = (enum remap_policy)word;
        return true;
    case OPTION_ENGINE:
        return parse_engines(s, o);
    case OPTION_MIN_BYTES:
        return parse_size(s, &o->min_bytes);
    case OPTION_MAX_BYTES:
        return parse_size(s, &o->max_bytes);
    case OPTION_MULTI:
        o->multi = word == 1;
        return true;
    case OPTION_EXE:
        o->exe = s;
        return true;
    case OPTION_INSIST:
        o->insist = word == 1;
        return true;
    case OPTION_STATS:
        o->stats = (enum remap_stats_mode)word;
        return true;
    case OPTION_STATS_DIR:
        o->stats_dir = s;
        return true;
    case OPTION_LOG:
        o->log = (enum remap_log_level)word;
        return true;
    case OPTION_LOG_FILE:
        o->log_file = s;
        return true;
    case OPTION_CATCH:
        return parse_catch(s, o);
    case OPTION_TRAP:
        o->trap = (enum remap_trap)word;
        return true;
    case OPTION_CALLERS: {
        uint64_t depth;
        if (!parse_number(s, REMAP_CALLERS_MAX, &depth))
            return false;
        o->callers = (uint32_t)depth;
        return true;
    }
    case OPTION_RUN_ID:
        return parse_number(s, UINT64_MAX, &o->run_id);
    case OPTION_COUNT:
        break;
    }
    return false;
}

/* The value if `entry` is "variable=value", else NULL. */
static const char *value_of(const char *entry, const char *variable)
{
    if (!text_starts(entry, variable))
        return NULL;
    entry += text_length(variable);
    return *entry == '=' ? entry + 1 : NULL;
}

void options_parse(struct remap_options *o, char *const *envp)
{
    *o = (struct remap_options){.xdg_runtime_dir = ""};
    for (int id = 0; id < OPTION_COUNT; id++)
        take_value(o, (enum remap_option)id, remap_option_table[id].fallback);
    for (; envp && *envp; envp++) {
        const char *xdg = value_of(*envp, "XDG_RUNTIME_DIR");
        if (xdg && *xdg == '/')
            o->xdg_runtime_dir = xdg;
        if (!text_starts(*envp, "REMAP_"))
            continue;
        for (int id = 0; id < OPTION_COUNT; id++) {
            const char *value = value_of(*envp, remap_option_table[id].variable);
            if (!value || o->raw[id])
                continue; /* like getenv(), the first of two equal names counts */
            o->raw[id] = value;
            if (!take_value(o, (enum remap_option)id, value))
                o->bad |= 1u << id;
        }
    }
}

/* Copies *text and lets it point to the copy; false: it does not fit, and the copy is cut off. */
static bool keep(const char **text, char *copy, size_t size)
{
    struct text t;
    if (**text == '\0') {
        *text = ""; /* most are: no page is touched for them */
        return true;
    }
    text_start(&t, copy, size);
    text_add(&t, *text);
    *text = copy;
    return !t.cut;
}

void options_keep(struct remap_options *o, struct remap_option_texts *texts)
{
    if (!keep(&o->stats_dir, texts->stats_dir, sizeof(texts->stats_dir))) {
        o->stats_dir = "";
        o->bad |= 1u << OPTION_STATS_DIR;
    }
    if (!keep(&o->log_file, texts->log_file, sizeof(texts->log_file))) {
        o->log_file = "";
        o->bad |= 1u << OPTION_LOG_FILE;
    }
    if (!keep(&o->xdg_runtime_dir, texts->xdg_runtime_dir, sizeof(texts->xdg_runtime_dir)))
        o->xdg_runtime_dir = "";
    o->exe = ""; /* looked at once, before */
    for (int id = 0; id < OPTION_COUNT; id++) {
        if (o->raw[id])
            keep(&o->raw[id], texts->raw[id], sizeof(texts->raw[id]));
    }
}

/* Glob of one pattern p[0..n) on a whole name: '*' any text, '?' any character. */
static bool glob(const char *p, size_t n, const char *name)
{
    size_t i = 0;
    size_t star = n;
    const char *retry = name;
    while (*name != '\0') {
        if (i < n && p[i] == '*') {
            star = i++;
            retry = name;
        } else if (i < n && (p[i] == '?' || p[i] == *name)) {
            i++;
            name++;
        } else if (star < n) {
            i = star + 1;
            name = ++retry;
        } else {
            return false;
        }
    }
    while (i < n && p[i] == '*')
        i++;
    return i == n;
}

bool options_exe_matches(const char *patterns, const char *name)
{
    if (*patterns == '\0')
        return true;
    for (;;) {
        size_t n = 0;
        while (patterns[n] != '\0' && patterns[n] != ',')
            n++;
        if (glob(patterns, n, name))
            return true;
        patterns += n;
        if (*patterns == '\0')
            return false;
        patterns++;
    }
}
