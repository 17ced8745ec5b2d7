/* SPDX-License-Identifier: MIT */
/* remapstat probe: what this kernel and this container can do, and what stands in the way. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "display.h"
#include "filters.h"
#include "json.h"
#include "names.h"
#include "options.h"
#include "probe.h"
#include "procfs.h"
#include "remapstat.h"
#include "table.h"

static const struct column probe_columns[] = {
    {.name = "FEATURE", .key = "feature"},
    {.name = "ANSWER", .key = "answer"},
    {.name = "ERRNO", .key = "errno"},
    {.name = "MEANING", .key = "meaning", .flags = COLUMN_WRAP},
    {.name = "WHY", .key = "why", .flags = COLUMN_WRAP},
};
enum { PROBE_COLUMNS = sizeof(probe_columns) / sizeof(probe_columns[0]), HINTS = 16 };

/* What surrounds the answers. */
struct surroundings {
    int seccomp; /* as in procfs_status */
    bool sysctl_known;
    uint64_t unprivileged; /* vm.unprivileged_userfaultfd */
    struct filters filters;
    const char *hints[HINTS];
    size_t hint_count;
};

static void hint(struct surroundings *s, const char *text)
{
    if (s->hint_count < HINTS)
        s->hints[s->hint_count++] = text;
}

static bool refused(const struct probe_result *r, enum remap_feature f)
{
    return r->features[f].answer == REMAP_ANSWER_ABSENT &&
           (r->features[f].error == EPERM || r->features[f].error == ENOSYS ||
            r->features[f].error == EACCES);
}

/* Where a filter that stands in the way comes from, and what would allow the call. */
static void hint_knobs(struct surroundings *s)
{
    hint(s, "Docker: --security-opt seccomp=PROFILE.json, a copy of its default profile with "
            "\"userfaultfd\" among the names that it allows (seccomp=unconfined, to try it out).");
    hint(s, "Podman: the same option, or seccomp_profile = \"PROFILE.json\" under [containers] in "
            "containers.conf; its default profile is /usr/share/containers/seccomp.json.");
    hint(s, "Kubernetes: securityContext.seccompProfile with type: Localhost and localhostProfile: "
            "PROFILE.json, a file below /var/lib/kubelet/seccomp. RuntimeDefault, which "
            "seccompDefault of the kubelet makes the default, is the container runtime's profile.");
    hint(s, "systemd: SystemCallFilter=@system-service userfaultfd in the unit (add the name to "
            "what is allowed there; a ~ before a list would forbid it).");
}

static void hint_userfaultfd(struct surroundings *s, const struct probe_result *r)
{
    if (s->filters.killed_by) {
        hint(s, s->filters.kills
                    ? "A seccomp filter on this process kills whoever calls userfaultfd(2): a "
                      "program that moves memory under the shim would be killed here. Do not load "
                      "it here (or REMAP_POLICY=off) until the filter allows userfaultfd, or "
                      "answers with an error."
                    : "The probe was killed, but not by userfaultfd(2): a seccomp filter kills on "
                      "another system call that the shim makes (see LIMITS in libremap(7)). Do not "
                      "load it here.");
        hint_knobs(s);
    } else if (refused(r, REMAP_FEATURE_USERFAULTFD_USER) && s->seccomp == 2) {
        hint(s, s->filters.forbids
                    ? "userfaultfd(2) is forbidden by a seccomp filter on this process: the kernel "
                      "itself would have given another answer. A container's profile, or a unit's "
                      "SystemCallFilter, does not allow it."
                    : "userfaultfd(2) is refused and a seccomp filter is active here: probably a "
                      "container's profile, or a unit's SystemCallFilter, that does not allow it. "
                      "(A kernel without CONFIG_USERFAULTFD would say the same.)");
        hint_knobs(s);
    } else if (refused(r, REMAP_FEATURE_USERFAULTFD_USER)) {
        hint(s, "userfaultfd(2) is refused without a seccomp filter: the kernel is built without "
                "CONFIG_USERFAULTFD, older than 5.11, or a security module forbids it.");
    } else if (refused(r, REMAP_FEATURE_USERFAULTFD) && s->sysctl_known && s->unprivileged == 0) {
        hint(s, "vm.unprivileged_userfaultfd is 0: without CAP_SYS_PTRACE userfaultfd is open with "
                "UFFD_USER_MODE_ONLY alone. That is enough for the shim; nothing has to change.");
    }
    if (r->features[REMAP_FEATURE_UFFDIO_MOVE].answer == REMAP_ANSWER_ABSENT &&
        (r->features[REMAP_FEATURE_USERFAULTFD_USER].answer == REMAP_ANSWER_PRESENT ||
         r->features[REMAP_FEATURE_USERFAULTFD].answer == REMAP_ANSWER_PRESENT))
        hint(s,
             "UFFDIO_MOVE is in Linux 6.8 and later. On an older kernel "
             "REMAP_ENGINE=native,uffd,copy "
             "lets the shim copy the pages of ranges up to REMAP_MAX_BYTES: not for programs that "
             "move memory while devices write to it (O_DIRECT, io_uring).");
}

static void find_hints(struct surroundings *s, const struct probe_result *r,
                       const struct remap_options *o)
{
    bool broken = false;

    for (size_t i = 0; i < REMAP_FEATURE_COUNT; i++)
        broken = broken || r->features[i].answer == REMAP_ANSWER_BROKEN;
    if (r->tier != REMAP_TIER_NATIVE)
        hint_userfaultfd(s, r);
    if (broken && !o->insist)
        hint(s, "A feature is there but counts as broken. If it is refused by kernel name only and "
                "you know that this kernel has the fix: REMAP_INSIST=on.");
    if (o->policy == POLICY_OFF || o->policy == POLICY_OBSERVE)
        hint(s,
             "REMAP_POLICY is off or observe in this environment: programs started from here are "
             "not helped.");
    if (r->features[REMAP_FEATURE_PLAIN_MERGES].answer == REMAP_ANSWER_PRESENT)
        hint(s, "Plain moves merge by themselves on this kernel: the shim stays out of the way.");
}

static void look_around(struct surroundings *s)
{
    struct procfs_status status;
    struct procfs self;

    *s = (struct surroundings){.seccomp = -1};
    if (procfs_open(&self, getpid()) == 0) {
        if (procfs_status(&self, &status) == 0)
            s->seccomp = status.seccomp;
        procfs_close(&self);
    }
    s->sysctl_known = procfs_number("/proc/sys/vm/unprivileged_userfaultfd", &s->unprivileged) == 0;
}

static const char *seccomp_name(int mode)
{
    static const char *const names[] = {"none", "strict", "filter"};

    return mode >= 0 && mode <= 2 ? names[mode] : "unknown";
}

/* Whether REMAP_CATCH=trap can set its filter here. */
static void print_trap(const struct filters *f)
{
    char error[DISPLAY_UNIT];

    if (f->may_add)
        printf("trap      possible");
    else
        printf("trap      not possible: %s%s",
               f->add_error ? "a seccomp filter may not be set here: "
                            : "libseccomp.so.2 cannot be loaded",
               f->add_error ? display_errno(error, f->add_error) : "");
    if (f->version[0])
        printf(" (libseccomp %u.%u.%u, API level %u)", f->version[0], f->version[1], f->version[2],
               f->api);
    putchar('\n');
}

static json_t *json_trap(const struct filters *f)
{
    json_t *object = json_new_object();
    char text[48], error[DISPLAY_UNIT];

    json_set(object, "possible", json_boolean(f->may_add));
    json_set(object, "error",
             f->add_error ? json_string(display_errno(error, f->add_error)) : json_null());
    snprintf(text, sizeof(text), "%u.%u.%u", f->version[0], f->version[1], f->version[2]);
    json_set(object, "libseccomp", f->version[0] ? json_string(text) : json_null());
    json_set(object, "api_level", json_number(f->api));
    return object;
}

static void print_table(const struct probe_result *r, const struct surroundings *s,
                        const struct args *a, const struct selection *columns)
{
    struct table *t;
    char buf[DISPLAY_UNIT];

    printf("kernel    %s\n", display_escape((char[260]){0}, 260, r->kernel));
    printf("tier      %s (%s)\n", name_of(&tier_names, r->tier, buf),
           help_of(&tier_names, r->tier));
    if (r->tier_why && r->tier_why[0])
        printf("          %s\n", r->tier_why);
    if (r->own_tier != REMAP_TIER_NONE && r->user_mode_only)
        printf("          userfaultfd is opened for faults in user mode only\n");
    if (r->no_huge)
        printf("          moving huge pages is not safe on this kernel: ranges with them are moved "
               "plainly\n");
    if (r->no_split)
        printf("          huge pages are not split for a move on this kernel\n");
    printf("seccomp   %s\n", seccomp_name(s->seccomp));
    print_trap(&s->filters);
    if (s->sysctl_known)
        printf("sysctl    vm.unprivileged_userfaultfd = %" PRIu64 "\n", s->unprivileged);
    putchar('\n');

    t = table_new(stdout, probe_columns, columns, a->noheadings);
    for (size_t i = 0; i < REMAP_FEATURE_COUNT; i++) {
        const struct probe_answer *f = &r->features[i];
        char answer[DISPLAY_UNIT], error[DISPLAY_UNIT];
        table_row(t, (const char *[]){
                         feature_names.list[i].key, name_of(&answer_names, f->answer, answer),
                         f->error ? display_errno(error, f->error) : NULL,
                         feature_names.list[i].help, f->why && f->why[0] ? f->why : ""});
    }
    table_print(t);
    for (size_t i = 0; i < s->hint_count; i++)
        printf("%s%s\n", i ? "" : "\nHints\n", s->hints[i]);
}

static void print_json(const struct probe_result *r, const struct surroundings *s)
{
    json_t *object = json_new_object(), *features = json_new_object(), *hints = json_new_array();
    char buf[DISPLAY_UNIT];

    json_set(object, "kernel", json_text(r->kernel));
    json_set(object, "tier", json_string(name_of(&tier_names, r->tier, buf)));
    json_set(object, "tier_why", json_text(r->tier_why ? r->tier_why : ""));
    json_set(object, "user_mode_only", json_boolean(r->user_mode_only));
    json_set(object, "no_huge", json_boolean(r->no_huge));
    json_set(object, "no_split", json_boolean(r->no_split));
    json_set(object, "seccomp", json_string(seccomp_name(s->seccomp)));
    json_set(object, "killed_by", json_number((uint64_t)s->filters.killed_by));
    json_set(object, "trap", json_trap(&s->filters));
    json_set(object, "unprivileged_userfaultfd",
             s->sysctl_known ? json_number(s->unprivileged) : json_null());
    for (size_t i = 0; i < REMAP_FEATURE_COUNT; i++) {
        const struct probe_answer *f = &r->features[i];
        json_t *feature = json_new_object();
        json_set(feature, "answer", json_string(name_of(&answer_names, f->answer, buf)));
        json_set(feature, "errno", json_number(f->error));
        json_set(feature, "error",
                 f->error ? json_string(display_errno(buf, f->error)) : json_null());
        json_set(feature, "meaning", json_string(feature_names.list[i].help));
        json_set(feature, "why", json_text(f->why ? f->why : ""));
        json_set(features, feature_names.list[i].key, feature);
    }
    json_set(object, "features", features);
    for (size_t i = 0; i < s->hint_count; i++)
        json_add(hints, json_string(s->hints[i]));
    json_set(object, "hints", hints);
    json_print(stdout, object, false);
}

int cmd_probe(const struct args *a)
{
    const struct selection fallback = selection_all(PROBE_COLUMNS);
    struct selection columns;
    struct remap_options options;
    struct probe_result result;
    struct surroundings s;

    if (!selection_parse(&columns, a->columns, &fallback, probe_columns, PROBE_COLUMNS))
        return STATUS_USAGE;
    options_parse(&options, environ);
    look_around(&s);
    filters_probe(&s.filters, &result, &options);
    find_hints(&s, &result, &options);
    if (a->json)
        print_json(&result, &s);
    else
        print_table(&result, &s, a, &columns);
    return STATUS_OK;
}
