/* SPDX-License-Identifier: MIT */
/* remapstat --json PID: the columns of the process, and below them what only the details have. */
#include <errno.h>

#include "columns.h"
#include "json.h"
#include "names.h"
#include "ways.h"

/* Every known key, zero or not, so that a reader finds what it looks for. */
static json_t *counts(const struct names *names, const uint64_t *words, size_t room)
{
    json_t *object = json_new_object();
    char name[DISPLAY_UNIT];

    for (size_t i = 0; i < room; i++) {
        if (i < names->count || words[i])
            json_set(object, name_of(names, i, name), json_number(words[i]));
    }
    return object;
}

/* By name of errno; those that never came are left out. */
static json_t *errnos(const uint64_t *words)
{
    json_t *object = json_new_object();
    char name[DISPLAY_UNIT];

    for (size_t i = 0; i < REMAP_STATS_ERRNOS; i++) {
        if (words[i])
            json_set(object, i == REMAP_STATS_ERRNOS - 1 ? "higher" : display_errno(name, (int)i),
                     json_number(words[i]));
    }
    return object;
}

static json_t *tiers(const struct remap_stats_counters *c)
{
    json_t *object = json_new_object();
    char name[DISPLAY_UNIT];

    for (size_t i = 0; i < REMAP_STATS_TIERS; i++) {
        json_t *tier;
        if (i >= REMAP_TIER_COUNT && !c->tier_moves[i])
            continue;
        tier = json_new_object();
        json_set(tier, "moves", json_number(c->tier_moves[i]));
        json_set(tier, "bytes", json_number(c->tier_bytes[i]));
        json_set(tier, "ns", json_number(c->tier_ns[i]));
        json_set(object, name_of(&tier_names, i, name), tier);
    }
    return object;
}

static json_t *features(const struct remap_stats_identity *id)
{
    json_t *object = json_new_object();
    char name[DISPLAY_UNIT], answer[DISPLAY_UNIT], error[DISPLAY_UNIT];

    for (size_t i = 0; i < REMAP_STATS_FEATURES; i++) {
        const struct remap_stats_feature *f = &id->features[i];
        json_t *feature;
        if (i >= REMAP_FEATURE_COUNT && !f->answer)
            continue;
        feature = json_new_object();
        json_set(feature, "answer", json_string(name_of(&answer_names, f->answer, answer)));
        json_set(feature, "errno", json_number(f->error));
        json_set(feature, "error",
                 f->error ? json_string(display_errno(error, f->error)) : json_null());
        json_set(object, name_of(&feature_names, i, name), feature);
    }
    return object;
}

/* Buckets that are not empty, each with its lower bound. */
static json_t *histogram(const uint64_t *buckets)
{
    json_t *array = json_new_array();

    for (size_t i = 0; i < REMAP_STATS_BUCKETS; i++) {
        json_t *bucket;
        if (!buckets[i])
            continue;
        bucket = json_new_object();
        json_set(bucket, "from_ns", json_number(i ? UINT64_C(1) << i : 0));
        json_set(bucket, "count", json_number(buckets[i]));
        json_add(array, bucket);
    }
    return array;
}

/* Those that have VMAs, the one with most of them first. */
static json_t *kinds(const struct kinds *k)
{
    json_t *array = json_new_array();
    enum kind order[KIND_COUNT];
    size_t count = kinds_order(k, order);

    for (size_t i = 0; i < count; i++) {
        json_t *kind = json_new_object();
        json_set(kind, "kind", json_string(kind_keys[order[i]]));
        json_set(kind, "vmas", json_number(k->of[order[i]].vmas));
        json_set(kind, "bytes", json_number(k->of[order[i]].bytes));
        json_add(array, kind);
    }
    return array;
}

json_t *json_details(const struct view *v, const struct kinds *k)
{
    const struct selection everything = selection_all(PROCESS_COLUMN_COUNT);
    const struct remap_stats_counters *c = &v->stats.counters;
    const struct remap_stats_identity *id = &v->stats.identity;
    json_t *object = json_process(v, &everything);

    json_set(object, "shim", json_boolean(view_shimmed(v)));
    json_set(object, "kinds", kinds(k));
    json_set(object, "jvm",
             k->java == JAVA_NONE ? json_null() : json_string(java_source_keys[k->java]));
    json_set(object, "malloc", json_string(k->headers ? "headers" : "layout"));
    if (!v->has_stats) {
        json_set(object, "file", json_null());
        return object;
    }
    json_set(object, "file", json_string(v->path)); /* escaped already */
    json_set(object, "program", json_text(id->comm));
    json_set(object, "kernel", json_text(id->kernel));
    json_set(object, "started_ns", json_number(id->started_ns));
    json_set(object, "start_time", json_number(id->start_time));
    json_set(object, "min_bytes", json_number(id->min_bytes));
    json_set(object, "max_bytes", json_number(id->max_bytes));
    json_set(object, "features", features(id));
    json_set(object, "outcomes", counts(&outcome_names, c->outcomes, REMAP_STATS_OUTCOMES));
    json_set(object, "reasons", counts(&reason_names, c->reasons, REMAP_STATS_REASONS));
    json_set(object, "ways", ways_json(&v->stats));
    json_set(object, "tiers", tiers(c));
    json_set(object, "steps", counts(&step_names, c->steps, REMAP_STATS_STEPS));
    json_set(object, "step_errnos", errnos(c->step_errnos));
    json_set(object, "call_errnos", errnos(c->call_errnos));
    json_set(object, "histogram", histogram(c->histogram));
    return object;
}
