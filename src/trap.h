/* SPDX-License-Identifier: MIT */
/*
 * REMAP_CATCH=trap: mremap() made as a system call of the program's own, in assembly.
 *
 * A seccomp filter answers each mremap without our marker in the sixth argument with SIGSYS, whose
 * handler makes the call in our way and puts its result where the kernel would have. What else is
 * to be known of it follows from what a filter is:
 *
 *   - It cannot be taken off and survives exec: a program that is started from here and does not
 *     have the library is killed at its first mremap. So it is not set, unless told otherwise, in a
 *     program that could start others (starts.h).
 *   - It needs no_new_privs.
 *   - A program that has the library and inherits the filter must handle SIGSYS before anything in
 *     it moves memory: another library's constructor, say. So that is looked after even before
 *     the first constructor, and whether the library does anything in that program or not.
 */
#ifndef REMAP_TRAP_H
#define REMAP_TRAP_H

#include <stdbool.h>

#include "mremap_wrap.h"
#include "options.h"

/*
 * Once, from the constructor. `perform` is what a trapped call comes to, from a signal handler. Not
 * `wanted`: no filter is set, and the answer is NONE; but one that was inherited is lived with.
 *
 * NONE, INHERITED: such calls are seen. Anything else: they are not, nothing has changed but
 * perhaps no_new_privs, and *error is a negative errno, or 0.
 */
enum remap_why trap_install(long (*perform)(const struct wrap_call *), bool wanted,
                            enum remap_trap how, char *const *envp, long *error);

#endif
