/* SPDX-License-Identifier: MIT */
#include "callers.h"

#include "kernel.h"
#include "log.h"
#include "rules.h"
#include "sites.h"
#include "unwind.h"

/* Our own frames between the call and callers_note(), a signal frame among them; there are fewer.
 */
#define OWN_FRAMES 24u

static uint32_t wanted; /* frames; 0: nothing is recorded */

/* This library. */
static uintptr_t own_start;
static uintptr_t own_end;

static bool is_own(uintptr_t address)
{
    return address >= own_start && address < own_end;
}

void callers_load(const struct remap_options *o)
{
    const char *missing = rules_load();
    if (!missing &&
        (!unwind_load() || !rules_object((uintptr_t)&callers_load, &own_start, &own_end)))
        missing = "there is no memory";
    if (!missing) {
        wanted = o->callers;
        process_record_sites();
        return;
    }
    char message[512];
    struct text t;
    text_start(&t, message, sizeof(message));
    text_add(&t, "REMAP_CALLERS: call sites are not recorded: ");
    text_add(&t, missing);
    log_write(o, LOG_WARN, message);
}

/* The frames above our own; 0: they cannot be told. */
static size_t capture(struct unwind *u, uint64_t *frames)
{
    enum unwind_result result = UNWIND_CALLER;
    size_t depth = 0;
    for (unsigned own = 0; depth < wanted && own < OWN_FRAMES;) {
        result = unwind_step(u);
        if (result != UNWIND_CALLER && result != UNWIND_SIGNAL)
            break;
        bool was_call = result == UNWIND_CALLER;
        /* The handler that caught a system call is ours, and what the kernel put there. Further
         * out: a move that a handler of the program's has interrupted. */
        if (is_own(u->ip) || (depth == 0 && u->rule.kind == RULE_SIGNAL)) {
            own++;
            continue;
        }
        /* A trapped system call is the instruction before, as a call is. */
        frames[depth] = u->ip + (was_call || depth == 0 ? 0 : 1);
        depth++;
    }
    return result == UNWIND_UNKNOWN ? 0 : depth;
}

static bool is_code(void *owner, uintptr_t address)
{
    struct vma vma;
    return process_vma_at(owner, address, &vma) == 0 && vma.start <= address &&
           (vma.prot & PROT_EXEC) != 0;
}

static __attribute__((noinline)) void record(struct process *p, struct remap_stats_sites *sites,
                                             const struct stats_call *call)
{
    struct unwind u;
    uint64_t frames[REMAP_CALLERS_MAX];
    u.pid = (long)p->local.identity.pid;
    u.is_code = is_code;
    u.owner = p;
    unwind_here(&u);
    unwind_begin(&u);
    size_t depth = capture(&u, frames);
    unwind_end(&u);
    if (depth != 0)
        sites_count(sites, call, frames, depth);
    else
        sites_drop(sites);
}

void callers_note(struct process *p, const struct stats_call *call)
{
    struct remap_stats_sites *sites = wanted != 0 && call->moved ? stats_sites(p->stats) : NULL;
    if (sites)
        record(p, sites, call);
}
