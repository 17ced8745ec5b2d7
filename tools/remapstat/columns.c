/* SPDX-License-Identifier: MIT */
#include "columns.h"

#include <inttypes.h>
#include <string.h>

#define FLAGS_TEXT                               0
#define FLAGS_NUMBER                             COLUMN_RIGHT
#define FLAGS_BYTES                              COLUMN_RIGHT
#define FLAGS_NS                                 COLUMN_RIGHT
#define FLAGS_IDENTITY                           COLUMN_RIGHT
#define COLUMN(id, name, key, kind, width, help) {name, key, help, FLAGS_##kind, width},
const struct column process_columns[PROCESS_COLUMN_COUNT] = {PROCESS_COLUMNS(COLUMN)};
#undef COLUMN

#define KIND(id, name, key, kind, width, help) VALUE_##kind,
static const enum value_kind kinds[] = {PROCESS_COLUMNS(KIND)};
#undef KIND

const struct selection list_default = {13,
                                       {PROCESS_PID, PROCESS_COMM, PROCESS_TIER, PROCESS_POLICY,
                                        PROCESS_VMAS, PROCESS_RUNS, PROCESS_LIMIT, PROCESS_CALLS,
                                        PROCESS_MOVES, PROCESS_RELOCATED, PROCESS_MERGED,
                                        PROCESS_SAVED, PROCESS_BYTES}};
const struct selection watch_default = {
    11,
    {PROCESS_VMAS, PROCESS_RUNS, PROCESS_CALLS, PROCESS_MOVES, PROCESS_RELOCATED, PROCESS_PLAIN,
     PROCESS_FAILED, PROCESS_MERGED, PROCESS_SAVED, PROCESS_BYTES, PROCESS_TIME}};
const struct selection summary_default = {7,
                                          {PROCESS_COMM, PROCESS_PID, PROCESS_MOVES,
                                           PROCESS_RELOCATED, PROCESS_MERGED, PROCESS_SAVED,
                                           PROCESS_TIME}};

/* Columns that do not need a statistics file. False if `id` is not one of them. */
static bool value_of_process(struct value *out, const struct view *v, enum process_column id)
{
    out->known = true;
    switch (id) {
    case PROCESS_PID:
        out->number = (uint64_t)v->pid;
        out->known = v->pid != 0;
        return true;
    case PROCESS_UID:
        out->number = v->uid;
        return true;
    case PROCESS_COMM:
        display_escape(out->text, sizeof(out->text), v->comm);
        return true;
    case PROCESS_VMAS:
        out->number = v->vmas;
        out->known = v->alive;
        return true;
    case PROCESS_RUNS:
        out->number = v->runs;
        out->known = v->alive;
        return true;
    case PROCESS_LIMIT:
        out->number = v->limit;
        out->known = v->alive;
        return true;
    default:
        return false;
    }
}

static void value_of_statistics(struct value *out, const struct view *v, enum process_column id)
{
    const struct remap_stats_counters *c = &v->stats.counters;

    out->known = v->has_stats;
    switch (id) {
    case PROCESS_TIER:
        display_escape(out->text, sizeof(out->text), view_tier(v));
        break;
    case PROCESS_POLICY:
        display_escape(out->text, sizeof(out->text), view_policy(v));
        break;
    case PROCESS_LIBRARY:
        display_escape(out->text, sizeof(out->text), v->stats.identity.library);
        break;
    case PROCESS_CALLS:
        out->number = c->calls;
        break;
    case PROCESS_MOVES:
        out->number = c->moves;
        break;
    case PROCESS_RELOCATED:
        out->number = c->relocated;
        break;
    case PROCESS_MERGED:
        out->number = view_merged(v);
        break;
    case PROCESS_SAVED:
        out->number = c->saved;
        break;
    case PROCESS_BYTES:
        out->number = view_bytes_moved(v);
        break;
    case PROCESS_TIME:
        out->number = view_nanoseconds(v);
        break;
    case PROCESS_PASSED:
        out->number = c->outcomes[REMAP_OUTCOME_PASSED];
        break;
    case PROCESS_IN_PLACE:
        out->number = c->outcomes[REMAP_OUTCOME_IN_PLACE];
        break;
    case PROCESS_NATIVE:
        out->number = c->outcomes[REMAP_OUTCOME_NATIVE];
        break;
    case PROCESS_UFFD:
        out->number = c->outcomes[REMAP_OUTCOME_UFFD];
        break;
    case PROCESS_COPY:
        out->number = c->outcomes[REMAP_OUTCOME_COPY];
        break;
    case PROCESS_PLAIN:
        out->number = c->outcomes[REMAP_OUTCOME_PLAIN];
        break;
    case PROCESS_FAILED:
        out->number = c->outcomes[REMAP_OUTCOME_FAILED];
        break;
    case PROCESS_MERGED_LEFT:
        out->number = c->merged_left;
        break;
    case PROCESS_MERGED_RIGHT:
        out->number = c->merged_right;
        break;
    case PROCESS_PAGES:
        out->number = c->pages_moved;
        break;
    case PROCESS_COPIED:
        out->number = c->pages_copied;
        break;
    case PROCESS_SPANS:
        out->number = c->spans;
        break;
    case PROCESS_SPAN_VMAS:
        out->number = c->span_vmas;
        break;
    case PROCESS_ERRORS:
        out->number = view_step_errors(v);
        break;
    case PROCESS_RESCUED:
        out->number = c->rescued;
        break;
    case PROCESS_RUN_ID:
        out->number = v->stats.identity.run_id;
        break;
    default:
        out->known = false;
    }
}

void column_value(struct value *out, const struct view *v, enum process_column id)
{
    *out = (struct value){.kind = kinds[id]};
    if (!value_of_process(out, v, id))
        value_of_statistics(out, v, id);
}

const char *value_text(const struct value *value, char buf[DISPLAY_UNIT])
{
    if (!value->known)
        return "-";
    switch (value->kind) {
    case VALUE_TEXT:
        return value->text;
    case VALUE_BYTES:
        return display_bytes(buf, value->number);
    case VALUE_NS:
        return display_ns(buf, value->number);
    default:
        snprintf(buf, DISPLAY_UNIT, "%" PRIu64, value->number);
        return buf;
    }
}

void process_row(struct table *t, const struct view *v)
{
    struct value values[PROCESS_COLUMN_COUNT];
    char units[PROCESS_COLUMN_COUNT][DISPLAY_UNIT];
    const char *cells[PROCESS_COLUMN_COUNT];

    for (size_t i = 0; i < PROCESS_COLUMN_COUNT; i++) {
        column_value(&values[i], v, (enum process_column)i);
        cells[i] = value_text(&values[i], units[i]);
    }
    table_row(t, cells);
}
