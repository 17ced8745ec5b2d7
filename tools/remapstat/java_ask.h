/* SPDX-License-Identifier: MIT */
#ifndef REMAPSTAT_JAVA_ASK_H
#define REMAPSTAT_JAVA_ASK_H

#include <stddef.h>
#include <sys/types.h>

#include "kinds.h"
#include "spans.h"

/*
 * Has jcmd ask the JVM for its address ranges, for some seconds at most. Returns what it could
 * tell, or JAVA_LAYOUT, with the reason (escaped) in `problem`.
 */
enum java_source java_ask(pid_t pid, uint64_t caught, struct spans *spans, char *problem,
                          size_t size);

#endif
