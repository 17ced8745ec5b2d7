/* SPDX-License-Identifier: MIT */
#include "kernel.h"
#include "mremap_wrap.h"
#include "process.h"
#include "remap.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int remap_features(struct remap_features *out)
{
    if (!out || out->size < sizeof(*out))
        return -EINVAL;
    const struct remap_options *o = process_options();
    *out = (struct remap_features){
        .size = sizeof(*out),
        .policy = o->policy,
        .active = process_activity() == PROCESS_ACTIVE,
    };
    if (!out->active)
        return 0;
    if (!process_get())
        return -EAGAIN; /* another thread is just starting */
    const struct probe_result *probe = process_probe();
    out->tier = probe->tier;
    for (int f = 0; f < REMAP_FEATURE_COUNT; f++) {
        out->features[f].answer = probe->features[f].answer;
        out->features[f].error = probe->features[f].error;
    }
    return 0;
}

EXPORT int remap_statistics(struct remap_stats *out, size_t size)
{
    if (!out || size < sizeof(*out))
        return -EINVAL;
    struct process *p = process_activity() == PROCESS_ACTIVE ? process_get() : NULL;
    if (!p) {
        __builtin_memset(out, 0, sizeof(*out));
        return process_activity() == PROCESS_ACTIVE ? -EAGAIN : 0;
    }
    wrap_hand_over(p);
    *out = *p->stats;
    return 0;
}

EXPORT const char *remap_version(void)
{
    return REMAP_VERSION;
}
