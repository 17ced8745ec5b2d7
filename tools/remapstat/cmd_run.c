/* SPDX-License-Identifier: MIT */
/* remapstat run: a command under the shim, with a summary at its end. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "columns.h"
#include "display.h"
#include "options.h"
#include "remapstat.h"
#include "run.h"

static void set(const char *variable, const char *value)
{
    if (value && setenv(variable, value, 1) != 0)
        out_of_memory();
}

/* Marks the processes of this run: anything that is not used at the same time will do. */
static uint64_t new_run_id(void)
{
    uint64_t id = 0;

    if (getrandom(&id, sizeof(id), GRND_NONBLOCK) != (ssize_t)sizeof(id) || !id) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        id = (uint64_t)t.tv_nsec << 32 ^ (uint64_t)t.tv_sec ^ (uint64_t)getpid() << 16;
    }
    return id ? id : 1;
}

/* A value given here is a usage error if it is bad; one in the environment is the library's to warn
 * about, in its own words. */
static bool good_option(const struct remap_options *o, enum remap_option id, const char *option,
                        const char *value)
{
    char escaped[128];

    if (!value || !(o->bad >> id & 1))
        return true;
    say("--%s=%s: allowed is %s", option, display_escape(escaped, sizeof(escaped), value),
        remap_option_table[id].allowed);
    return false;
}

/* Said before anything happens that cannot be undone. */
static void explain_trap(const struct remap_options *o)
{
    if (!options_catch(o, REMAP_WAY_TRAP) || o->policy == POLICY_OFF || o->log < LOG_WARN)
        return;
    say("catch trap: a seccomp filter traps mremap system calls that are made in assembly. It "
        "cannot be taken off: it stays across exec, needs no_new_privs (sudo, su, ping and other "
        "set-user-ID programs gain no rights), and kills every program started from there that "
        "calls mremap without libremap.so (a static one, or one without LD_PRELOAD). %s",
        o->trap == TRAP_ALWAYS
            ? "REMAP_TRAP=always: it is set in programs that start others, too."
            : "So it is not set in a program that could start others, unless --trap always says "
              "so. REMAP_LOG=error leaves this text out.");
}

int cmd_run(const struct args *a)
{
    const char *stats = getenv(remap_option_table[OPTION_STATS].variable);
    struct remap_options o;
    struct selection columns;
    char library[PATH_MAX], text[DISPLAY_UNIT];
    uint64_t run_id = new_run_id();
    bool keep, started;
    int status;

    if (!selection_parse(&columns, a->columns, &summary_default, process_columns,
                         PROCESS_COLUMN_COUNT))
        return STATUS_USAGE;
    set(remap_option_table[OPTION_POLICY].variable, a->policy);
    set(remap_option_table[OPTION_ENGINE].variable, a->engine);
    set(remap_option_table[OPTION_LOG].variable, a->log);
    set(remap_option_table[OPTION_CATCH].variable, a->catch);
    set(remap_option_table[OPTION_CALLERS].variable, a->callers);
    set(remap_option_table[OPTION_TRAP].variable, a->trap);
    snprintf(text, sizeof(text), "%" PRIu64, run_id);
    set(remap_option_table[OPTION_RUN_ID].variable, text);
    /* So that the files outlive their processes; run_summarize() removes them. */
    if (!stats)
        set(remap_option_table[OPTION_STATS].variable, "keep");

    options_parse(&o, environ);
    if (!good_option(&o, OPTION_POLICY, "policy", a->policy) ||
        !good_option(&o, OPTION_ENGINE, "engine", a->engine) ||
        !good_option(&o, OPTION_LOG, "log", a->log) ||
        !good_option(&o, OPTION_CATCH, "catch", a->catch) ||
        !good_option(&o, OPTION_CALLERS, "callers", a->callers) ||
        !good_option(&o, OPTION_TRAP, "trap", a->trap))
        return STATUS_USAGE;
    if (!run_find_library(library, a->lib) || !run_add_preload(library))
        return STATUS_FAILURE;
    explain_trap(&o);

    /* Who asked for files to be kept finds them afterwards. */
    keep = stats && o.stats == STATS_KEEP;
    status = run_command(a->argv, &started);
    if (started && o.stats == STATS_KEEP)
        run_summarize(a, run_id, keep);
    else if (started)
        say("no summary: REMAP_STATS=%s leaves no files behind; unset it, or set it to keep",
            o.stats == STATS_OFF ? "off" : "on");
    return status;
}
