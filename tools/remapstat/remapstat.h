/* SPDX-License-Identifier: MIT */
/*
 * What the commands of remapstat share: their arguments and their exit status.
 */
#ifndef REMAPSTAT_H
#define REMAPSTAT_H

#include <stdbool.h>

enum status {
    STATUS_OK = 0,
    STATUS_FAILURE = 1, /* process gone, not ours, not shimmed, nothing to write to ... */
    STATUS_USAGE = 2,
    STATUS_CANNOT_EXECUTE = 126, /* run: as env(1) */
    STATUS_NOT_FOUND = 127
};

struct args {
    bool json;
    bool noheadings;
    bool jvm;            /* ask the JVM; PID only */
    const char *columns; /* of -o, NULL if not given */
    /* run only, NULL if not given */
    const char *lib;
    const char *policy;
    const char *engine;
    const char *log;
    const char *catch;
    const char *callers;
    const char *trap;
    /* what follows the command word */
    int argc;
    char **argv;
};

/* Each returns the exit status of the program. */
int cmd_list(const struct args *a);
int cmd_show(const struct args *a);  /* argv: PID */
int cmd_watch(const struct args *a); /* argv: PID INTERVAL [COUNT] */
int cmd_run(const struct args *a);   /* argv: CMD ARGS, NULL-terminated */
int cmd_probe(const struct args *a);
int cmd_env(const struct args *a);
int cmd_sites(const struct args *a); /* argv: PID */

#endif
