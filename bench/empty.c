/* SPDX-License-Identifier: MIT */
/* The preload library that does nothing: what startup.c compares with. */
int bench_empty(void);

int bench_empty(void)
{
    return 0;
}
