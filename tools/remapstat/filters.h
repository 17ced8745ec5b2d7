/* SPDX-License-Identifier: MIT */
/*
 * Seccomp filters on this process: what they forbid, and whether one more may be set. All of it is
 * tried in children, since a filter may kill.
 */
#ifndef REMAPSTAT_FILTERS_H
#define REMAPSTAT_FILTERS_H

#include <stdbool.h>

#include "options.h"
#include "probe.h"

struct filters {
    int killed_by;       /* signal that ended the probe; 0: none */
    bool kills;          /* userfaultfd(2) alone is answered so */
    int forbids;         /* errno that a filter, and no kernel, answers userfaultfd(2) with; 0 */
    bool may_add;        /* a filter of one's own may be set */
    int add_error;       /* errno that said no; 0: libseccomp.so.2 cannot be loaded */
    unsigned version[3]; /* of libseccomp, 0.0.0 if it is not there */
    unsigned api;        /* seccomp_api_get(3): what it and the kernel can do together */
};

/* The probe, and what is between it and the kernel. Where it was killed no feature is known. */
void filters_probe(struct filters *f, struct probe_result *result, const struct remap_options *o);

#endif
