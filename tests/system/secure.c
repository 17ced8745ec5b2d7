/* SPDX-License-Identifier: MIT */
/*
 * Linked with the library and made set-user-id by inside.c: says whether it was inert. Exit status
 * 0: inert; 1: acted; 3: not started as a privileged program, so nothing can be told.
 */
#include <errno.h>
#include <sys/auxv.h>

#include "lib.h"

int main(void)
{
    struct remap_features features = {.size = sizeof(features)};
    if (getauxval(AT_SECURE) == 0) {
        return 3;
    }
    char *src = piece(4 * PAGE, 1);
    char *dst = reserve(8 * PAGE);
    CHECK_PTR(mremap(src, 4 * PAGE, 4 * PAGE, MOVE_TO, dst), dst);
    CHECK_HOLDS(dst, 4 * PAGE, 1);
    CHECK_EQ(remap_features(&features), 0);
    CHECK_EQ(features.active, 0);
    CHECK_EQ(stats_now().counters.calls, 0);
    return 0;
}
