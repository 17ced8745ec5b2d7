/* SPDX-License-Identifier: MIT */
/*
 * Reads what a JVM answers to VM.native_memory and VM.info, line by line: the address ranges.
 */
#ifndef REMAPSTAT_JAVA_ANSWER_H
#define REMAPSTAT_JAVA_ANSWER_H

#include <stdbool.h>

#include "spans.h"

struct java_answer {
    struct spans *spans;
    bool heap; /* VM.info: in the description of the heap */
};

/* A line without its newline; perhaps cut off. */
void java_answer_native_memory(struct java_answer *a, const char *line);
void java_answer_info(struct java_answer *a, const char *line);

#endif
