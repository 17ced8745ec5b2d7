/* SPDX-License-Identifier: MIT */
#include "catch.h"

#include "log.h"
#include "process.h"
#include "redirect.h"
#include "trap.h"

#define NAME_(id, key, help) [REMAP_WAY_##id] = (key),
static const char *const names[] = {REMAP_WAYS(NAME_)};
#undef NAME_
#define HELP_(id, key, help) [REMAP_WHY_##id] = (help),
static const char *const whys[] = {REMAP_WHYS(HELP_)};
#undef HELP_

/* A way that was asked for and is not to be had is told at once: who asked relies on it. */
static void tell(enum remap_way way, enum remap_why why, long error)
{
    char message[512];
    struct text t;
    text_start(&t, message, sizeof(message));
    text_add(&t, "REMAP_CATCH: '");
    text_add(&t, names[way]);
    text_add(&t, "' is not possible here: ");
    text_add(&t, whys[why]);
    if (error != 0) {
        text_add(&t, " (errno ");
        text_add_number(&t, (uint64_t)-error);
        text_add(&t, ")");
    }
    text_add(&t, "; such calls go to the kernel as they are");
    /* Whole families of programs are refused for what they could start: shells, say. */
    log_write(process_options(), why == REMAP_WHY_CHILDREN ? LOG_INFO : LOG_WARN, message);
}

void catch_begin(const struct catch_entries *entries, char *const *envp)
{
    const struct remap_options *o = process_options();
    bool active = process_activity() == PROCESS_ACTIVE;
    for (enum remap_way way = 0; way < REMAP_WAY_COUNT; way++) {
        enum remap_why why = REMAP_WHY_NONE;
        long error = 0;
        bool wanted = active && options_catch(o, way);
        /* Wanted or not, a trap that a parent has set is there. */
        if (way == REMAP_WAY_TRAP)
            why = trap_install(entries->trapped, wanted, o->trap, envp, &error);
        else if (way == REMAP_WAY_REALLOC && wanted)
            why = redirect_install(entries->from_libc, &error);
        if (!wanted)
            why = active ? REMAP_WHY_NOT_ASKED : REMAP_WHY_INERT;
        process_set_way(way, why, error);
        if (why > REMAP_WHY_INERT && why != REMAP_WHY_INHERITED)
            tell(way, why, error);
    }
}
