/* SPDX-License-Identifier: MIT */
/*
 * The columns that describe a process: one table for the list, the rows of the interval mode, the
 * summary of `run` and their JSON.
 */
#ifndef REMAPSTAT_COLUMNS_H
#define REMAPSTAT_COLUMNS_H

#include "display.h"
#include "table.h"
#include "view.h"

/*
 * X(identifier, heading, JSON key, kind, width, help)
 * kind: TEXT, NUMBER, BYTES, NS or IDENTITY (a number without unit that JSON gets as a string,
 * because it has 64 bits).
 */
#define PROCESS_COLUMNS(X)                                                                         \
    X(PID, "PID", "pid", NUMBER, 7, "process id")                                                  \
    X(COMM, "COMM", "comm", TEXT, 15, "command name")                                              \
    X(UID, "UID", "uid", NUMBER, 5, "effective user id")                                           \
    X(TIER, "TIER", "tier", TEXT, 6, "how it relocates: none, native, uffd or copy")               \
    X(POLICY, "POLICY", "policy", TEXT, 7, "off, observe, auto or always")                         \
    X(VMAS, "VMAS", "vmas", NUMBER, 6, "lines of /proc/PID/maps")                                  \
    X(RUNS, "RUNS", "runs", NUMBER, 6, "the smallest number of VMAs it could be")                  \
    X(LIMIT, "LIMIT", "limit", NUMBER, 6, "vm.max_map_count")                                      \
    X(CALLS, "CALLS", "calls", NUMBER, 7, "calls of mremap()")                                     \
    X(MOVES, "MOVES", "moves", NUMBER, 7, "calls after which memory is at a new address")          \
    X(RELOCATED, "RELOCATED", "relocated", NUMBER, 9, "moves that were relocations")               \
    X(MERGED, "MERGED", "merged", NUMBER, 7, "sides on which relocated ranges merged")             \
    X(SAVED, "SAVED", "saved", NUMBER, 7, "VMAs that went away because of a relocation")           \
    X(BYTES, "BYTES", "bytes_moved", BYTES, 7, "address range relocated")                          \
    X(TIME, "TIME", "time_ns", NS, 8, "time spent in relocations")                                 \
    X(PASSED, "PASSED", "passed", NUMBER, 7, "calls handed to the kernel unchanged")               \
    X(IN_PLACE, "IN_PLACE", "in_place", NUMBER, 8, "calls that grew without a move")               \
    X(NATIVE, "NATIVE", "native", NUMBER, 7, "relocations by the kernel's own flag")               \
    X(UFFD, "UFFD", "uffd", NUMBER, 7, "relocations by UFFDIO_MOVE")                               \
    X(COPY, "COPY", "copy", NUMBER, 7, "relocations by copying the pages")                         \
    X(PLAIN, "PLAIN", "plain", NUMBER, 7, "moves that were to be relocated and were not")          \
    X(FAILED, "FAILED", "failed", NUMBER, 7, "calls that returned an error")                       \
    X(MERGED_LEFT, "MERGED_LEFT", "merged_left", NUMBER, 11, "merges with what ends there")        \
    X(MERGED_RIGHT, "MERGED_RIGHT", "merged_right", NUMBER, 12, "merges with what begins there")   \
    X(PAGES, "PAGES", "pages_moved", NUMBER, 7, "populated base pages moved by UFFDIO_MOVE")       \
    X(COPIED, "COPIED", "pages_copied", NUMBER, 7, "populated base pages copied")                  \
    X(SPANS, "SPANS", "spans", NUMBER, 7, "calls that moved several VMAs one by one")              \
    X(SPAN_VMAS, "SPAN_VMAS", "span_vmas", NUMBER, 9, "VMAs that these moved")                     \
    X(ERRORS, "ERRORS", "step_errors", NUMBER, 7, "failures of engine steps")                      \
    X(RESCUED, "RESCUED", "rescued", NUMBER, 7, "moves whose pages had to be copied to undo them") \
    X(RUN_ID, "RUN_ID", "run_id", IDENTITY, 20, "of remapstat run; 0 elsewhere")                   \
    X(LIBRARY, "LIBRARY", "library", TEXT, 7, "version of libremap")

#define COLUMN_ID_(id, name, key, kind, width, help) PROCESS_##id,
enum process_column { PROCESS_COLUMNS(COLUMN_ID_) PROCESS_COLUMN_COUNT };
#undef COLUMN_ID_

enum value_kind { VALUE_TEXT, VALUE_NUMBER, VALUE_BYTES, VALUE_NS, VALUE_IDENTITY };

struct value {
    bool known; /* false: no statistics, or no process any more */
    enum value_kind kind;
    uint64_t number;
    char text[4 * 72]; /* escaped */
};

extern const struct column process_columns[PROCESS_COLUMN_COUNT];
extern const struct selection list_default, watch_default, summary_default;

void column_value(struct value *out, const struct view *v, enum process_column id);

/* The value for people: units, "-" if it is not known. Returns text in `value` or `buf`. */
const char *value_text(const struct value *value, char buf[DISPLAY_UNIT]);

/* One row of a table over process_columns. */
void process_row(struct table *t, const struct view *v);

#endif
