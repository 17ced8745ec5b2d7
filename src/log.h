/* SPDX-License-Identifier: MIT */
/*
 * Messages to the user: one write(2) each, to standard error or REMAP_LOG_FILE, of the form
 * "remap: PROGRAM[PID]: LEVEL: TEXT". Async-signal-safe; nothing stays open.
 */
#ifndef REMAP_LOG_H
#define REMAP_LOG_H

#include "options.h"
#include "text.h"

/* True if messages of this level are wanted: ask before composing one. */
bool log_wanted(const struct remap_options *o, enum remap_log_level level);
void log_write(const struct remap_options *o, enum remap_log_level level, const char *message);

#endif
