/* SPDX-License-Identifier: MIT */
/*
 * filtered ACTION NAME COMMAND [ARGUMENT]...: COMMAND under a seccomp filter that answers the
 * system call NAME with ACTION: an errno of those below, or `kill` (the process). Exit status 77
 * where no filter may be set.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 4) {
        return 2;
    }
    int number = seccomp_syscall_resolve_name(argv[2]);
    uint32_t action = strcmp(argv[1], "kill") == 0     ? SCMP_ACT_KILL_PROCESS
                      : strcmp(argv[1], "EPERM") == 0  ? SCMP_ACT_ERRNO(EPERM)
                      : strcmp(argv[1], "ENOSYS") == 0 ? SCMP_ACT_ERRNO(ENOSYS)
                                                       : SCMP_ACT_ALLOW;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (number == __NR_SCMP_ERROR || action == SCMP_ACT_ALLOW || !filter ||
        seccomp_rule_add(filter, action, number, 0) != 0) {
        return 2;
    }
    int ret = seccomp_load(filter);
    if (ret != 0) {
        printf("skipped: no seccomp filter may be installed: %s\n", strerror(-ret));
        return 77;
    }
    seccomp_release(filter);
    execvp(argv[3], argv + 3);
    perror(argv[3]);
    return 127;
}
