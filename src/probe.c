/* SPDX-License-Identifier: MIT */
#include "probe.h"

#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "descriptor.h"
#include "kernel.h"
#include "page_size.h"
#include "pages.h"
#include "text.h"
#include "vma.h"

/* The pages that the questions are tried on, reserved for the time of the probe. */
#define SCRATCH_PAGES 32

struct scratch {
    uintptr_t base;
    struct descriptor maps;
    bool query;
};

static struct probe_answer present(void)
{
    return (struct probe_answer){.answer = REMAP_ANSWER_PRESENT, .why = ""};
}

static struct probe_answer absent(long error, const char *why)
{
    return (struct probe_answer){
        .answer = REMAP_ANSWER_ABSENT, .error = (uint16_t)-error, .why = why};
}

static struct probe_answer broken(const char *why)
{
    return (struct probe_answer){.answer = REMAP_ANSWER_BROKEN, .why = why};
}

static struct probe_answer unknown(const char *why)
{
    return (struct probe_answer){.answer = REMAP_ANSWER_UNKNOWN, .why = why};
}

static uintptr_t page_at(const struct scratch *s, unsigned n)
{
    return s->base + n * page_size();
}

static volatile uint64_t *word_at(const struct scratch *s, unsigned n)
{
    return (volatile uint64_t *)page_at(s, n);
}

/* Makes page n ordinary memory; `value` is written to it unless 0 (then it stays unfaulted). */
static bool fill(const struct scratch *s, unsigned n, int prot, uint64_t value)
{
    long ret =
        k_mmap(page_at(s, n), page_size(), prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1);
    if (k_failed(ret))
        return false;
    k_munlock(page_at(s, n), page_size()); /* mlockall(MCL_FUTURE): born locked and populated */
    if (value != 0)
        *word_at(s, n) = value;
    else
        pages_drop(page_at(s, n), page_size());
    return true;
}

static void clear(const struct scratch *s)
{
    k_reserve(s->base, SCRATCH_PAGES * page_size(), MAP_FIXED);
}

static bool is_one_vma(const struct scratch *s, unsigned first, unsigned pages)
{
    struct vma v;
    return vma_at(s->maps.fd, s->query, page_at(s, first), &v) == 0 &&
           v.start <= page_at(s, first) && v.end >= page_at(s, first + pages);
}

/* A faulted page is moved beside another faulted one: do they become one VMA, contents intact? */
static struct probe_answer ask_merge(const struct scratch *s, unsigned long flag,
                                     const char *not_known)
{
    struct probe_answer answer;
    if (!fill(s, 1, PROT_READ | PROT_WRITE, 11) || !fill(s, 9, PROT_READ | PROT_WRITE, 22)) {
        clear(s);
        return unknown("no memory to ask with");
    }
    long ret = k_mremap(page_at(s, 9), page_size(), page_size(),
                        K_MREMAP_MAYMOVE | K_MREMAP_FIXED | flag, page_at(s, 2));
    if (k_failed(ret))
        answer = absent(ret, not_known);
    else if (*word_at(s, 1) != 11 || *word_at(s, 2) != 22)
        answer = broken("contents were lost");
    else if (is_one_vma(s, 1, 2))
        answer = present();
    else if (flag != 0)
        answer = broken("the flag is accepted, but the neighbours did not merge");
    else
        answer = absent(0, "moved memory stays a VMA of its own: what this library is for");
    clear(s);
    return answer;
}

static struct probe_answer ask_dontunmap(const struct scratch *s)
{
    if (!fill(s, 1, PROT_READ | PROT_WRITE, 33))
        return unknown("no memory to ask with");
    struct probe_answer answer;
    long ret = k_mremap(page_at(s, 1), page_size(), page_size(),
                        K_MREMAP_MAYMOVE | K_MREMAP_FIXED | K_MREMAP_DONTUNMAP, page_at(s, 9));
    if (k_failed(ret))
        answer = absent(ret, "needs Linux 5.7");
    else if (*word_at(s, 9) != 33 || *word_at(s, 1) != 0)
        answer = broken("contents were lost");
    else
        answer = present();
    clear(s);
    return answer;
}

static struct probe_answer ask_multi_vma(const struct scratch *s)
{
    if (!fill(s, 1, PROT_READ | PROT_WRITE, 0) || !fill(s, 2, PROT_READ, 0)) {
        clear(s);
        return unknown("no memory to ask with");
    }
    long ret = k_mremap(page_at(s, 1), 2 * page_size(), 2 * page_size(),
                        K_MREMAP_MAYMOVE | K_MREMAP_FIXED, page_at(s, 9));
    clear(s);
    return k_failed(ret) ? absent(ret, "needs Linux 6.17") : present();
}

static struct probe_answer ask_procmap_query(struct scratch *s)
{
    struct k_procmap_query q = {.size = sizeof(q), .query_addr = s->base};
    if (s->maps.fd < 0)
        return absent(-ENOENT, "/proc/self/maps cannot be opened: is /proc mounted?");
    long ret = k_ioctl(s->maps.fd, K_PROCMAP_QUERY, &q);
    if (k_failed(ret))
        return absent(ret, "needs Linux 6.11; until then /proc/self/maps is read, which is slow "
                           "with many VMAs");
    s->query = q.vma_start <= s->base && s->base < q.vma_end;
    return s->query ? present() : broken("it named another VMA");
}

static struct probe_answer ask_pagemap_scan(const struct scratch *s)
{
    struct descriptor pagemap;
    long ret = descriptor_open_proc(&pagemap, "/proc/self/pagemap");
    if (k_failed(ret))
        return absent(ret, "/proc/self/pagemap cannot be opened");
    struct probe_answer answer = unknown("no memory to ask with");
    if (fill(s, 1, PROT_READ | PROT_WRITE, 44) && fill(s, 2, PROT_READ | PROT_WRITE, 0)) {
        struct k_page_region region = {0, 0, 0};
        struct k_pagemap_scan scan = {
            .size = sizeof(scan),
            .start = page_at(s, 1),
            .end = page_at(s, 3),
            .vec = (uintptr_t)&region,
            .vec_len = 1,
            .category_anyof_mask = K_PAGE_IS_PRESENT | K_PAGE_IS_SWAPPED,
            .return_mask = K_PAGE_IS_PRESENT,
        };
        ret = k_ioctl(pagemap.fd, K_PAGEMAP_SCAN, &scan);
        if (k_failed(ret))
            answer = absent(ret, "needs Linux 6.7");
        else if (ret == 1 && region.start == page_at(s, 1) && region.end == page_at(s, 2))
            answer = present();
        else
            answer = broken("it misjudged which pages are populated");
    }
    clear(s);
    descriptor_close(&pagemap);
    return answer;
}

static struct probe_answer ask_userfaultfd(bool user_mode_only)
{
    long fd = k_userfaultfd(O_CLOEXEC | O_NONBLOCK | (user_mode_only ? K_UFFD_USER_MODE_ONLY : 0));
    if (k_failed(fd)) {
        if (fd == -ENOSYS)
            return absent(fd, "not built into this kernel, or hidden by a seccomp filter");
        if (fd == -EPERM && !user_mode_only)
            return absent(fd, "vm.unprivileged_userfaultfd is 0 (then only user-mode faults are "
                              "allowed), or a seccomp filter forbids it");
        return absent(fd, fd == -EPERM ? "a seccomp filter forbids it (container profile?)" : "");
    }
    k_close((int)fd);
    return present();
}

static long try_uffdio_move(const struct scratch *s, int fd, unsigned dst, unsigned src)
{
    struct k_uffdio_move move = {
        .dst = page_at(s, dst), .src = page_at(s, src), .len = page_size()};
    long ret = -EAGAIN;
    /* EAGAIN: the page is held by someone for a moment (khugepaged, migration). */
    for (int i = 0; ret == -EAGAIN && i < 100; i++) {
        ret = k_ioctl(fd, K_UFFDIO_MOVE, &move);
        if (ret == -EAGAIN)
            k_sched_yield();
    }
    return ret;
}

/* Did `value` arrive at page n? Not looked at if the kernel says no: who reads a registered page
 * that did not come waits for it, and a filter may forbid to unregister it. */
static struct probe_answer judge(const struct scratch *s, long ret, unsigned n, uint64_t value)
{
    if (k_failed(ret))
        return absent(ret, "the call was refused");
    return *word_at(s, n) == value ? present() : broken("contents were lost");
}

/* What a userfaultfd can do with pages: MOVE from 1 to 9, COPY from 3 to 10. */
static void ask_uffd_pages(const struct scratch *s, struct probe_result *r)
{
    struct probe_answer *move = &r->features[REMAP_FEATURE_UFFDIO_MOVE];
    struct probe_answer *copy = &r->features[REMAP_FEATURE_UFFDIO_COPY];
    struct descriptor uffd;
    bool has_move = true;
    long ret = descriptor_open_uffd(&uffd, r->user_mode_only, K_UFFD_FEATURE_MOVE);
    if (ret == -EINVAL) {
        has_move = false;
        ret = descriptor_open_uffd(&uffd, r->user_mode_only, 0);
    }
    if (k_failed(ret)) {
        *move = *copy = absent(ret, "no userfaultfd");
        return;
    }
    *move = *copy = unknown("no memory to ask with");
    if (fill(s, 1, PROT_READ | PROT_WRITE, 55) && fill(s, 3, PROT_READ | PROT_WRITE, 66) &&
        fill(s, 9, PROT_READ | PROT_WRITE, 0) && fill(s, 10, PROT_READ | PROT_WRITE, 0)) {
        struct uffdio_register reg = {
            .range = {.start = page_at(s, 9), .len = 2 * page_size()},
            .mode = UFFDIO_REGISTER_MODE_MISSING,
        };
        struct uffdio_copy request = {
            .dst = page_at(s, 10), .src = page_at(s, 3), .len = page_size()};
        long copied = k_ioctl(uffd.fd, UFFDIO_REGISTER, &reg);
        long moved = copied;
        if (!k_failed(copied)) {
            copied = k_ioctl(uffd.fd, UFFDIO_COPY, &request);
            moved = has_move ? try_uffdio_move(s, uffd.fd, 9, 1) : -EINVAL;
            k_ioctl(uffd.fd, UFFDIO_UNREGISTER, &reg.range);
        }
        *copy = judge(s, copied, 10, 66);
        *move = judge(s, moved, 9, 55);
        if (move->answer == REMAP_ANSWER_PRESENT && *word_at(s, 1) != 0)
            *move = broken("the source kept its page");
        if (!has_move)
            *move = absent(-EINVAL, "needs Linux 6.8");
    }
    clear(s);
    descriptor_close(&uffd);
}

struct release {
    uint64_t major;
    uint64_t minor;
    uint64_t patch;
};

static struct release parse_release(const char *s)
{
    struct release r = {0, 0, 0};
    if (text_number(&s, 10, &r.major) && *s++ == '.' && text_number(&s, 10, &r.minor) &&
        *s++ == '.')
        text_number(&s, 10, &r.patch);
    return r;
}

static bool older(struct release r, uint64_t major, uint64_t minor, uint64_t patch)
{
    if (r.major != major)
        return r.major < major;
    if (r.minor != minor)
        return r.minor < minor;
    return r.patch < patch;
}

static bool contains(const char *s, const char *part)
{
    for (; *s != '\0'; s++) {
        if (text_starts(s, part))
            return true;
    }
    return false;
}

static bool is_refused_next(const char *release)
{
    return contains(release, "next-202506") || contains(release, "next-202507");
}

static void refuse_flag(struct probe_result *r)
{
    r->features[REMAP_FEATURE_RELOCATE] = r->features[REMAP_FEATURE_MUST_RELOCATE] =
        broken("refused by name: linux-next of June 2025 sleeps in atomic context");
}

/*
 * Sources: the report "sleeping function called from invalid context in __relocate_anon_folios"
 * against next-20250616 (the series was dropped from linux-next in July 2025); stable kernel
 * changelogs 6.12.37 (wrong folio moved in a swap cache race) and 6.12.43 (crash when a huge page
 * under migration is moved). Splitting a pinned huge page spins in the kernel before 6.18.
 */
void probe_known_bugs(struct probe_result *r, const char *release, bool swap_active)
{
    struct release v = parse_release(release);
    const struct probe_answer *relocate = &r->features[REMAP_FEATURE_RELOCATE];
    struct probe_answer *move = &r->features[REMAP_FEATURE_UFFDIO_MOVE];
    if (is_refused_next(release) && relocate->answer == REMAP_ANSWER_PRESENT)
        refuse_flag(r);
    bool stable_6_12 = v.major == 6 && v.minor == 12;
    r->no_split = older(v, 6, 18, 0);
    r->no_huge = older(v, 6, 17, 0) && !(stable_6_12 && !older(v, 6, 12, 43));
    bool swap_race = older(v, 6, 16, 0) && !(stable_6_12 && !older(v, 6, 12, 37));
    if (swap_race && swap_active && move->answer == REMAP_ANSWER_PRESENT)
        *move = broken("refused by name: before 6.12.37 and 6.16 it can move the wrong page while "
                       "swap is in use (REMAP_INSIST=on to use it all the same)");
}

static bool is_present(const struct probe_result *r, enum remap_feature feature)
{
    return r->features[feature].answer == REMAP_ANSWER_PRESENT;
}

static bool can(const struct probe_result *r, enum remap_tier tier)
{
    switch (tier) {
    case REMAP_TIER_NATIVE:
        return is_present(r, REMAP_FEATURE_RELOCATE);
    case REMAP_TIER_UFFD:
        return is_present(r, REMAP_FEATURE_UFFDIO_MOVE) && is_present(r, REMAP_FEATURE_DONTUNMAP) &&
               is_present(r, REMAP_FEATURE_PAGEMAP_SCAN);
    case REMAP_TIER_COPY:
        return is_present(r, REMAP_FEATURE_UFFDIO_COPY) && is_present(r, REMAP_FEATURE_DONTUNMAP);
    case REMAP_TIER_NONE:
    case REMAP_TIER_COUNT:
        break;
    }
    return false;
}

static const char *why_no_tier(const struct probe_result *r)
{
    static const enum remap_feature needed[] = {REMAP_FEATURE_DONTUNMAP, REMAP_FEATURE_UFFDIO_MOVE,
                                                REMAP_FEATURE_PAGEMAP_SCAN};
    if (can(r, REMAP_TIER_UFFD) || can(r, REMAP_TIER_NATIVE))
        return "REMAP_ENGINE does not allow what this kernel could do";
    if (can(r, REMAP_TIER_COPY) && !is_present(r, REMAP_FEATURE_UFFDIO_MOVE) &&
        r->features[REMAP_FEATURE_UFFDIO_MOVE].error == EINVAL)
        return "UFFDIO_MOVE needs Linux 6.8; REMAP_ENGINE=native,uffd,copy copies the pages here";
    for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
        if (!is_present(r, needed[i]))
            return r->features[needed[i]].why;
    }
    return "";
}

static const char *why_this_tier(const struct probe_result *r)
{
    if (r->tier == REMAP_TIER_NATIVE)
        return "";
    if (r->tier == REMAP_TIER_NONE)
        return why_no_tier(r);
    if (can(r, REMAP_TIER_NATIVE) || (r->tier == REMAP_TIER_COPY && can(r, REMAP_TIER_UFFD)))
        return "REMAP_ENGINE prefers it";
    if (r->tier == REMAP_TIER_COPY)
        return "this kernel cannot move pages";
    if (r->features[REMAP_FEATURE_RELOCATE].answer == REMAP_ANSWER_BROKEN)
        return r->features[REMAP_FEATURE_RELOCATE].why;
    return "this kernel has no relocation flag, as no released kernel has";
}

static void choose_tier(struct probe_result *r, const struct remap_options *o)
{
    r->tier = r->own_tier = REMAP_TIER_NONE;
    if (is_present(r, REMAP_FEATURE_PLAIN_MERGES)) {
        r->tier_why = "plain moves merge by themselves on this kernel: nothing to do";
        return;
    }
    for (int i = 0; o->engines[i] != REMAP_TIER_NONE; i++) {
        enum remap_tier tier = o->engines[i];
        if (!can(r, tier))
            continue;
        if (r->tier == REMAP_TIER_NONE)
            r->tier = tier;
        if (tier != REMAP_TIER_NATIVE && r->own_tier == REMAP_TIER_NONE)
            r->own_tier = tier;
    }
    r->tier_why = why_this_tier(r);
}

void probe_run(struct probe_result *out, const struct remap_options *options)
{
    struct probe_answer *f = out->features;
    struct utsname name;
    struct sysinfo memory = {.totalswap = 0};
    struct scratch s = {.base = 0};
    struct text t;

    *out = (struct probe_result){.tier_why = ""};
    for (int i = 0; i < REMAP_FEATURE_COUNT; i++)
        f[i] = unknown("");
    text_start(&t, out->kernel, sizeof(out->kernel));
    if (!k_failed(k_uname(&name)))
        text_add(&t, name.release);

    long base = k_reserve(0, SCRATCH_PAGES * page_size(), 0);
    if (k_failed(base)) {
        out->tier_why = "no address space to probe in";
        return;
    }
    s.base = (uintptr_t)base;
    descriptor_open_proc(&s.maps, "/proc/self/maps");
    f[REMAP_FEATURE_PROCMAP_QUERY] = ask_procmap_query(&s);
    if (!options->insist && is_refused_next(out->kernel)) {
        refuse_flag(out); /* not even asked: asking is what goes wrong there */
    } else {
        f[REMAP_FEATURE_RELOCATE] = ask_merge(&s, K_MREMAP_RELOCATE, "in no released kernel");
        f[REMAP_FEATURE_MUST_RELOCATE] = ask_merge(&s, K_MREMAP_MUST, "in no released kernel");
    }
    f[REMAP_FEATURE_PLAIN_MERGES] = ask_merge(&s, 0, "mremap does not work");
    f[REMAP_FEATURE_DONTUNMAP] = ask_dontunmap(&s);
    f[REMAP_FEATURE_MULTI_VMA] = ask_multi_vma(&s);
    f[REMAP_FEATURE_PAGEMAP_SCAN] = ask_pagemap_scan(&s);
    f[REMAP_FEATURE_USERFAULTFD] = ask_userfaultfd(false);
    f[REMAP_FEATURE_USERFAULTFD_USER] = ask_userfaultfd(true);
    out->user_mode_only = f[REMAP_FEATURE_USERFAULTFD].answer != REMAP_ANSWER_PRESENT;
    ask_uffd_pages(&s, out);
    descriptor_close(&s.maps);
    k_munmap(s.base, SCRATCH_PAGES * page_size());

    k_sysinfo(&memory);
    if (!options->insist)
        probe_known_bugs(out, out->kernel, memory.totalswap != 0);
    choose_tier(out, options);
}
