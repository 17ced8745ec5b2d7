/* SPDX-License-Identifier: MIT */
/*
 * Policy: the one table of options. Parsing, `remapstat env`, the section OPTIONS of libremap(7)
 * and a test that compares them all come from REMAP_OPTIONS.
 *
 * options_parse() uses no libc beyond what the compiler emits: it runs before main, and inside
 * programs whose malloc is not ready. Not thread-safe: called once, from the constructor or the
 * first intercepted call, whichever comes first.
 */
#ifndef REMAP_OPTIONS_H
#define REMAP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "remap_stats.h"

enum remap_policy { POLICY_OFF, POLICY_OBSERVE, POLICY_AUTO, POLICY_ALWAYS };
enum remap_log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum remap_stats_mode { STATS_OFF, STATS_ON, STATS_KEEP };
enum remap_trap { TRAP_GUARDED, TRAP_ALWAYS };
#define REMAP_CALLERS_MAX 32u

/*
 * X(identifier, variable, kind, default, allowed, help)
 * kind: word (one of `allowed`), list (of `allowed`), size, path, patterns, number.
 */
#define REMAP_OPTIONS(X)                                                                           \
    X(POLICY, "REMAP_POLICY", WORD, "auto", "off|observe|auto|always",                             \
      "off: inert; observe: count, change nothing; auto: relocate; always: ignore size bounds")    \
    X(ENGINE, "REMAP_ENGINE", LIST, "native,uffd,none", "native,uffd,copy,none",                   \
      "the tiers to use, in order of preference; what follows none is not used")                   \
    X(MIN_BYTES, "REMAP_MIN_BYTES", SIZE, "0", "0 to 2^63-1, suffix K, M or G",                    \
      "ranges smaller than this are moved plainly")                                                \
    X(MAX_BYTES, "REMAP_MAX_BYTES", SIZE, "64M", "0 to 2^63-1, suffix K, M or G",                  \
      "ranges with more populated memory than this are moved plainly")                             \
    X(MULTI, "REMAP_MULTI", WORD, "on", "off|on",                                                  \
      "on: one mremap of a range with several VMAs moves each of them, on every kernel")           \
    X(CATCH, "REMAP_CATCH", LIST, "symbol,syscall", "symbol,syscall,realloc,trap",                 \
      "whose calls are seen: mremap(), syscall(), libc's own realloc(), system calls by others")   \
    X(TRAP, "REMAP_TRAP", WORD, "guarded", "guarded|always",                                       \
      "guarded: no trap in a program that can start others, which it could kill; always: any")     \
    X(CALLERS, "REMAP_CALLERS", NUMBER, "0", "0 to 32",                                            \
      "record where moves are called from, so many frames deep; 0: do not")                        \
    X(EXE, "REMAP_EXE", PATTERNS, "", "patterns with * and ?, separated by commas",                \
      "act only in programs whose executable has such a name; empty: in all")                      \
    X(INSIST, "REMAP_INSIST", WORD, "off", "off|on",                                               \
      "on: use what the probe refuses by kernel name (known kernel bugs) all the same")            \
    X(STATS, "REMAP_STATS", WORD, "on", "off|on|keep",                                             \
      "the statistics file: off: none; keep: left behind at exit")                                 \
    X(STATS_DIR, "REMAP_STATS_DIR", PATH, "", "an absolute path",                                  \
      "where the file is made; empty: $XDG_RUNTIME_DIR/remap, else /dev/shm/remap-UID")            \
    X(LOG, "REMAP_LOG", WORD, "warn", "error|warn|info|debug", "how much is said")                 \
    X(LOG_FILE, "REMAP_LOG_FILE", PATH, "", "an absolute path",                                    \
      "where messages are appended; empty: standard error")                                        \
    X(RUN_ID, "REMAP_RUN_ID", NUMBER, "0", "0 to 2^64-1",                                          \
      "set by remapstat run: marks its processes")

#define REMAP_OPTION_ID_(id, var, kind, def, allowed, help) OPTION_##id,
enum remap_option { REMAP_OPTIONS(REMAP_OPTION_ID_) OPTION_COUNT };
#undef REMAP_OPTION_ID_

enum remap_option_kind {
    OPTION_WORD,
    OPTION_LIST,
    OPTION_SIZE,
    OPTION_PATH,
    OPTION_PATTERNS,
    OPTION_NUMBER
};

/* One row of the table, for whoever prints it. */
struct remap_option_info {
    const char *variable;
    enum remap_option_kind kind;
    const char *fallback; /* the default, as text */
    const char *allowed;
    const char *help;
};
extern const struct remap_option_info remap_option_table[OPTION_COUNT];

/*
 * The effective values. Strings point into the environment block that was parsed (or to static
 * storage) and live as long as it does.
 */
struct remap_options {
    enum remap_policy policy;
    /* The tiers that may be used, in order of preference; REMAP_TIER_NONE ends them. */
    enum remap_tier engines[REMAP_TIER_COUNT];
    bool multi;
    bool insist;
    uint32_t catch;       /* bit n: calls that arrive by enum remap_way n are seen */
    enum remap_trap trap; /* whether the trap is set where it could hurt */
    uint32_t callers;     /* frames to record; 0: none */
    uint64_t min_bytes;
    uint64_t max_bytes;
    enum remap_stats_mode stats;
    enum remap_log_level log;
    uint64_t run_id;
    const char *exe;               /* patterns; "" = all */
    const char *stats_dir;         /* "" = the default places */
    const char *log_file;          /* "" = standard error */
    const char *xdg_runtime_dir;   /* "" if unset; not an option of ours */
    const char *raw[OPTION_COUNT]; /* text found in the environment, NULL if unset */
    uint32_t bad;                  /* bit n: raw[n] is not valid and the default is used */
};

/* Fills in *o from a NULL-terminated environment block; envp may be NULL (all defaults). */
void options_parse(struct remap_options *o, char *const *envp);

/*
 * Makes *o independent of the environment block: programs overwrite it, to show another title in
 * ps(1) for example (setproctitle(3)), long before the first move. `texts` holds what is still
 * needed then and must live as long as *o. A path that does not fit counts as not valid; of an
 * invalid value only the beginning is kept.
 */
struct remap_option_texts {
    char stats_dir[4096]; /* PATH_MAX */
    char log_file[4096];
    char xdg_runtime_dir[4096];
    char raw[OPTION_COUNT][128];
};
void options_keep(struct remap_options *o, struct remap_option_texts *texts);

/* True if the tier is among o->engines. */
bool options_allow(const struct remap_options *o, enum remap_tier tier);
/* True if calls that arrive this way are to be seen. */
static inline bool options_catch(const struct remap_options *o, enum remap_way way)
{
    return (o->catch >> way & 1) != 0;
}

/* True if `name` matches one of the comma-separated patterns, or if there are none. */
bool options_exe_matches(const char *patterns, const char *name);

#endif
