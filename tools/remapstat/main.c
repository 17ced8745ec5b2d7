/* SPDX-License-Identifier: MIT */
/* Reads the command line and hands over to the command. */
#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "columns.h"
#include "display.h"
#include "remapstat.h"

enum { OPT_LIB = 256, OPT_POLICY, OPT_ENGINE, OPT_LOG, OPT_CATCH, OPT_CALLERS, OPT_TRAP, OPT_JVM };

static const struct option long_options[] = {{"json", no_argument, NULL, 'J'},
                                             {"output", required_argument, NULL, 'o'},
                                             {"noheadings", no_argument, NULL, 'n'},
                                             {"help", no_argument, NULL, 'h'},
                                             {"version", no_argument, NULL, 'V'},
                                             {"jvm", no_argument, NULL, OPT_JVM},
                                             {"lib", required_argument, NULL, OPT_LIB},
                                             {"policy", required_argument, NULL, OPT_POLICY},
                                             {"engine", required_argument, NULL, OPT_ENGINE},
                                             {"log", required_argument, NULL, OPT_LOG},
                                             {"catch", required_argument, NULL, OPT_CATCH},
                                             {"callers", required_argument, NULL, OPT_CALLERS},
                                             {"trap", required_argument, NULL, OPT_TRAP},
                                             {NULL, 0, NULL, 0}};

static void help(void)
{
    fputs("Usage:\n"
          " remapstat [options]                        processes under the shim\n"
          " remapstat [options] PID                    one of them in detail\n"
          " remapstat [options] PID INTERVAL [COUNT]   a row each INTERVAL seconds\n"
          " remapstat sites [options] PID              where it moves memory from (REMAP_CALLERS)\n"
          " remapstat run [options] [--] COMMAND [ARGUMENT...]\n"
          "                                            run COMMAND under the shim\n"
          " remapstat probe [options]                  what this kernel and container can do\n"
          " remapstat env [options]                    REMAP_* options, effective values\n"
          "\n"
          "Shows what libremap.so does: moved anonymous memory that merges again.\n"
          "\n"
          "Options:\n"
          " -J, --json              JSON with raw numbers; with INTERVAL one object per line\n"
          " -o, --output COLUMNS    columns, separated by commas; +COLUMNS adds to the default\n"
          " -n, --noheadings        no headings\n"
          "     --jvm               with PID: have jcmd ask a JVM where its heap, code and so on\n"
          "                         lie; this starts a thread in it\n"
          " -h, --help              this text\n"
          " -V, --version           version\n"
          "\n"
          "Options of run:\n"
          "     --lib PATH          the library, instead of the one that belongs to this command\n"
          "     --policy POLICY     REMAP_POLICY for COMMAND: off, observe, auto or always\n"
          "     --engine LIST       REMAP_ENGINE for COMMAND: native, uffd, copy, none\n"
          "     --log LEVEL         REMAP_LOG for COMMAND: error, warn, info or debug\n"
          "     --catch LIST        REMAP_CATCH for COMMAND: symbol, syscall, realloc, trap\n"
          "     --callers DEPTH     REMAP_CALLERS for COMMAND: frames to record, 0 to 32\n"
          "     --trap WHERE        REMAP_TRAP for COMMAND: guarded or always\n"
          "\n"
          "Columns of processes:\n",
          stdout);
    for (size_t i = 0; i < PROCESS_COLUMN_COUNT; i++)
        printf(" %13s  %s\n", process_columns[i].name, process_columns[i].help);
    fputs("\n"
          "Exit status: 0 success; 1 failure; 2 wrong usage; run: the status of COMMAND, 128+N if\n"
          "signal N killed it, 126 if it cannot be executed, 127 if it is not found.\n",
          stdout);
}

static int usage_error(void)
{
    fputs("Try 'remapstat --help' for more information.\n", stderr);
    return STATUS_USAGE;
}

/* What was printed must have arrived: "remapstat > /dev/full" is a failure. */
static int close_output(int status)
{
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == STATUS_OK) {
        say("the output cannot be written");
        return STATUS_FAILURE;
    }
    return status;
}

/* Takes options up to the first word if `stop`, else wherever they are. False: done, *status. */
static bool take_options(struct args *a, int argc, char **argv, bool stop, int *status)
{
    int c;

    optind = 0; /* GNU: start over, and look at the first character of the option string again */
    while ((c = getopt_long(argc, argv, stop ? "+Jo:nhV" : "Jo:nhV", long_options, NULL)) != -1) {
        switch (c) {
        case 'J':
            a->json = true;
            break;
        case 'o':
            a->columns = optarg;
            break;
        case 'n':
            a->noheadings = true;
            break;
        case 'h':
            help();
            *status = STATUS_OK;
            return false;
        case 'V':
            puts("remapstat " REMAP_VERSION);
            *status = STATUS_OK;
            return false;
        case OPT_JVM:
            a->jvm = true;
            break;
        case OPT_LIB:
            a->lib = optarg;
            break;
        case OPT_POLICY:
            a->policy = optarg;
            break;
        case OPT_ENGINE:
            a->engine = optarg;
            break;
        case OPT_LOG:
            a->log = optarg;
            break;
        case OPT_CATCH:
            a->catch = optarg;
            break;
        case OPT_CALLERS:
            a->callers = optarg;
            break;
        case OPT_TRAP:
            a->trap = optarg;
            break;
        default:
            *status = usage_error();
            return false;
        }
    }
    a->argc = argc - optind;
    a->argv = argv + optind;
    return true;
}

static int too_many(const char *command)
{
    say("%s: too many arguments", command);
    return usage_error();
}

static int dispatch(const struct args *a, const char *word)
{
    if (a->jvm && (*word || a->argc != 1 || a->columns)) {
        say("--jvm belongs to 'remapstat PID'");
        return usage_error();
    }
    if (strcmp(word, "run") == 0) {
        if (a->argc)
            return cmd_run(a);
        say("run: no command given");
        return usage_error();
    }
    if (a->lib || a->policy || a->engine || a->log || a->catch || a->callers || a->trap) {
        say("--lib, --policy, --engine, --log, --catch, --callers and --trap belong to 'remapstat "
            "run'");
        return usage_error();
    }
    if (strcmp(word, "probe") == 0)
        return a->argc ? too_many(word) : cmd_probe(a);
    if (strcmp(word, "sites") == 0) {
        if (a->argc == 1)
            return cmd_sites(a);
        say("sites: one PID is needed");
        return usage_error();
    }
    if (strcmp(word, "env") == 0)
        return a->argc ? too_many(word) : cmd_env(a);
    if (a->argc > 3)
        return too_many("PID");
    if (a->argc > 1)
        return cmd_watch(a);
    return a->argc ? cmd_show(a) : cmd_list(a);
}

int main(int argc, char **argv)
{
    struct args a = {0};
    const char *word = "";
    int status;

    if (!take_options(&a, argc, argv, true, &status))
        return close_output(status);
    if (a.argc && isalpha((unsigned char)a.argv[0][0])) {
        /* A command word takes the place of the program's name for its own options; those of the
         * command that `run` starts are none of our business. */
        word = a.argv[0];
        a.argv[0] = argv[0];
        if (!take_options(&a, a.argc, a.argv, strcmp(word, "run") == 0, &status))
            return close_output(status);
        if (strcmp(word, "run") != 0 && strcmp(word, "probe") != 0 && strcmp(word, "env") != 0 &&
            strcmp(word, "sites") != 0) {
            char escaped[64];
            say("'%s' is no command", display_escape(escaped, sizeof(escaped), word));
            return usage_error();
        }
    } else if (a.argc) {
        a.argv[-1] = argv[0];
        if (!take_options(&a, a.argc + 1, a.argv - 1, false, &status))
            return close_output(status);
    }
    return close_output(dispatch(&a, word));
}
