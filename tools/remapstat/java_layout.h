/* SPDX-License-Identifier: MIT */
#ifndef REMAPSTAT_JAVA_LAYOUT_H
#define REMAPSTAT_JAVA_LAYOUT_H

#include <stdbool.h>

#include "mappings.h"

/*
 * What belongs to the parts of a JVM, told from the outside: HotSpot's habits of where it puts
 * what. Only mappings that are still open are labelled.
 */
void label_java_archive(struct mappings *m);
void label_java_code(struct mappings *m);
void label_java_heap(struct mappings *m);
void label_java_metaspace(struct mappings *m);

#endif
