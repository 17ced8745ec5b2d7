/* SPDX-License-Identifier: MIT */
#include "refusing.h"

#include <string.h>
#include <unistd.h>

#include "lib.h"

void inject(const struct fault *fault, int error)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    CHECK(filter != NULL);
    int ret = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO((uint32_t)error), fault->number,
                                     fault->count, fault->compare);
    CHECK_EQ(ret, 0);
    /* Threads that exist already are filtered too. */
    CHECK_EQ(seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1), 0);
    ret = seccomp_load(filter);
    if (ret != 0) {
        test_skip("no seccomp filter may be installed: %s", strerror(-ret));
    }
}

void *stay(void *descriptor)
{
    char c;
    CHECK_EQ(read(*(int *)descriptor, &c, 1), 1);
    return NULL;
}
