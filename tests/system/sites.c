/* SPDX-License-Identifier: MIT */
#include "sites.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct site_table now;

void read_table_of(pid_t pid)
{
    char path[512];
    struct remap_stats_site site;
    memset(&now, 0, sizeof(now));
    snprintf(path, sizeof(path), "%s/%d", getenv("REMAP_STATS_DIR"), pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK_OK(fd);
    CHECK_EQ(pread(fd, &now.stats, sizeof(now.stats), 0), sizeof(now.stats));
    off_t at = now.stats.identity.sites_offset;
    now.there = at != 0;
    if (now.there) {
        CHECK_EQ(pread(fd, &now.head, sizeof(now.head), at), sizeof(now.head));
        CHECK_EQ(now.head.capacity, 256);
        CHECK_EQ(now.head.entry_size, sizeof(site));
        at += (off_t)sizeof(now.head);
        for (unsigned i = 0; i < now.head.capacity; i++, at += (off_t)sizeof(site)) {
            CHECK_EQ(pread(fd, &site, sizeof(site), at), sizeof(site));
            if (site.ready) {
                CHECK(site.key != 0 && site.depth >= 1 && site.depth <= now.head.depth);
                now.sites[now.count++] = site;
            }
        }
    }
    close(fd);
}

void read_table(void)
{
    uint64_t moves = 0;
    uint64_t bytes = 0;
    uint64_t merged = 0;
    read_table_of(getpid());
    CHECK(now.there);
    for (size_t i = 0; i < now.count; i++) {
        moves += now.sites[i].moves;
        bytes += now.sites[i].bytes;
        merged += now.sites[i].merged;
    }
    const struct remap_stats_counters *c = &now.stats.counters;
    CHECK_EQ(moves + now.head.dropped, c->moves);
    if (now.head.dropped == 0) {
        uint64_t all = 0;
        for (int tier = 0; tier < REMAP_TIER_COUNT; tier++) {
            all += c->tier_bytes[tier];
        }
        CHECK_EQ(bytes, all);
        CHECK_EQ(merged, c->merged_left + c->merged_right);
    }
}

const struct remap_stats_site *site_in(uintptr_t function, unsigned frame)
{
    const struct remap_stats_site *found = NULL;
    for (size_t i = 0; i < now.count; i++) {
        if (frame < now.sites[i].depth && is_in(now.sites[i].frames[frame], function)) {
            CHECK(found == NULL);
            found = &now.sites[i];
        }
    }
    return found;
}

char *slots[2];
unsigned at_slot;

void ready_to_move(void)
{
    char *area = reserve(2 * SITE_LEN + 3 * PAGE);
    slots[0] = area + PAGE;
    slots[1] = area + 2 * PAGE + SITE_LEN;
    at_slot = 0;
    map_at(slots[0], SITE_LEN, RW);
    fill(slots[0], SITE_LEN, 1);
}

#define MOVER(name)                                                                                \
    PLACE void name(void)                                                                          \
    {                                                                                              \
        char *to = slots[1 - at_slot];                                                             \
        CHECK_PTR(mremap(slots[at_slot], SITE_LEN, SITE_LEN, MOVE_TO, to), to);                    \
        at_slot = 1 - at_slot;                                                                     \
        STAY();                                                                                    \
    }
MOVER(move)
MOVER(move_otherwise)

PLACE void descend(unsigned depth)
{
    if (depth == 0) {
        move();
    } else {
        descend(depth - 1);
    }
    STAY();
}

static char *theirs[2];
unsigned handler_moves;

PLACE void move_in_handler(int number)
{
    int error = errno;
    (void)number;
    unsigned i = handler_moves++ % 2;
    CHECK_PTR(mremap(theirs[i], SITE_LEN, SITE_LEN, MOVE_TO, theirs[1 - i]), theirs[1 - i]);
    errno = error;
    STAY();
}

void move_on_signal(int number, int flags)
{
    char *area = reserve(2 * SITE_LEN + 3 * PAGE);
    struct sigaction action = {.sa_handler = move_in_handler, .sa_flags = flags};
    theirs[0] = map_at(area + PAGE, SITE_LEN, RW);
    fill(theirs[0], SITE_LEN, 2);
    theirs[1] = area + 2 * PAGE + SITE_LEN;
    CHECK_OK(sigaction(number, &action, NULL));
}

PLACE void interrupted(void)
{
    raw_syscall(SYS_tgkill, getpid(), raw_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0), SIGUSR1, 0, 0, 0);
    STAY();
}
