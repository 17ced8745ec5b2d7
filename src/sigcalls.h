/* SPDX-License-Identifier: MIT */
/*
 * The functions by which a program sets SIGSYS's action and blocks signals, taken over for the trap
 * (signals.h says what for). While SIGSYS is not taken they pass on to the next in line, by a jump.
 *
 * Not taken over, and why that is no harm or not ours to help:
 *
 *   - posix_spawn(), system(), popen() and pthread_create() of libc block all signals by system
 *     calls of their own, for a moment in which they call no mremap(); what they restore has the
 *     stand-in in it.
 *   - sigsetjmp(), siglongjmp(), getcontext() and so on save and restore the kernel's mask as it
 * is. A program that writes SIGSYS into a context's uc_sigmask by itself blocks it for good.
 *   - signalfd(): a SIGSYS that was blocked when it came is read there as the stand-in.
 *   - raw system calls.
 */
#ifndef REMAP_SIGCALLS_H
#define REMAP_SIGCALLS_H

/* From the constructor: finds the next in line of each. (A call that comes before looks for its
 * own, which is not async-signal-safe.) */
void sigcalls_begin(void);

#endif
