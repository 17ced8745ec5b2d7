/* SPDX-License-Identifier: MIT */
#include "rules.h"

#include <dlfcn.h>
#include <libunwind.h>
#include <stdatomic.h>
#include <sys/auxv.h>

#include "descriptor.h"
#include "kernel.h"
#include "page_size.h"
#include "zone.h"

/* ---- what is known ---- */

#define RULES  8192u /* a power of two */
#define PROBES 16u

struct answer {
    _Atomic uint64_t address; /* 0: free */
    _Atomic uint64_t rule;    /* 0: being written */
};
static struct answer *known;

static _Atomic uint32_t asking; /* threads inside libunwind */
static _Atomic bool mute;       /* a fork found one there: its mutex is not to be had */

/* In one word, so that it can be published whole: 4 bits, 24, 18, 18. */
#define CFA_BITS 24
#define FP_BITS  18
#define RA_BITS  18

static uint64_t field(int64_t bytes, unsigned bits)
{
    return (uint64_t)(bytes / 8) & ((1ull << bits) - 1);
}

static int64_t signed_field(uint64_t word, unsigned shift, unsigned bits)
{
    return (int64_t)(word << (64 - shift - bits)) >> (64 - bits) << 3;
}

static uint64_t pack(const struct rule *r)
{
    return (uint64_t)r->kind | field(r->cfa, CFA_BITS) << 4 | field(r->fp, FP_BITS) << 28 |
           field(r->ra, RA_BITS) << 46;
}

static struct rule unpack(uint64_t word)
{
    return (struct rule){
        .kind = (enum rule_kind)(word & 15),
        .cfa = signed_field(word, 4, CFA_BITS),
        .fp = signed_field(word, 28, FP_BITS),
        .ra = signed_field(word, 46, RA_BITS),
    };
}

size_t rules_read(long pid, uintptr_t at, void *to, size_t size)
{
    size_t in_page = page_size() - (at & (page_size() - 1));
    size_t first = size < in_page ? size : in_page;
    struct iovec local = {to, size};
    struct iovec remote[2] = {{(void *)at, first}, {(void *)(at + first), size - first}};
    long got = k_process_vm_readv(pid, &local, remote, size > first ? 2 : 1);
    return k_failed(got) ? 0 : (size_t)got;
}

/* ---- asking libunwind ---- */

/* The names of the library for other processes: _Ux86_64_step. */
#define TEXT_(x)   #x
#define TEXT(x)    TEXT_(x)
#define NAME(name) TEXT(UNW_OBJ(name))
#define LIBRARY    "libunwind-" TEXT(UNW_TARGET) ".so.8"

static struct {
    unw_addr_space_t (*create)(unw_accessors_t *, int);
    int (*init)(unw_cursor_t *, unw_addr_space_t, void *);
    int (*step)(unw_cursor_t *);
    int (*get_reg)(unw_cursor_t *, int, unw_word_t *);
    int (*search)(unw_addr_space_t, unw_word_t, unw_dyn_info_t *, unw_proc_info_t *, int, void *);
    int (*find_object)(void *, struct dl_find_object *);
} lib;
static unw_addr_space_t space;
/* What libunwind subtracts from an address before it looks it up: some versions take each for a
 * return address. */
static uintptr_t subtracted;

/* REG_RA_ holds the return address after a step, REG_LR_ what is in the link register before it. */
#if defined(__x86_64__)
enum {
    REG_FP_ = UNW_X86_64_RBP,
    REG_SP_ = UNW_X86_64_RSP,
    REG_IP_ = UNW_X86_64_RIP,
    REG_RA_ = UNW_X86_64_RIP,
    REG_LR_ = -1
};
#elif defined(__aarch64__)
enum {
    REG_FP_ = UNW_AARCH64_X29,
    REG_SP_ = UNW_AARCH64_SP,
    REG_IP_ = UNW_AARCH64_PC,
    REG_RA_ = UNW_AARCH64_X30,
    REG_LR_ = UNW_AARCH64_X30
};
#endif

/*
 * Registers that no program has, each far from the others, and a stack that tells where it was
 * read: the word at a is a | SEEN. Neither is an address of user space.
 */
#define FAKE       (1ull << 59)
#define SEEN       (1ull << 60)
#define FAKE_REACH 40
#define IS_FAKE(x) ((x) >> 59 == 1)
#define IS_SEEN(x) ((x) >> 59 == 3)

static uint64_t fake_register(int number)
{
    return FAKE + (((uint64_t)number + 1) << FAKE_REACH);
}

struct question {
    long pid;
    uintptr_t ip;     /* what libunwind is told */
    uintptr_t looked; /* what it looked up */
    bool has_table;
    uintptr_t block_start; /* of the tables, the last that was read */
    size_t block_size;
    uint64_t block[32];
};

static bool read_table(struct question *q, uintptr_t at, void *to, size_t size)
{
    if (at < q->block_start || q->block_size < size || at - q->block_start > q->block_size - size) {
        q->block_start = at & ~(uintptr_t)7;
        q->block_size = rules_read(q->pid, q->block_start, q->block, sizeof(q->block));
        if (q->block_size < size || at - q->block_start > q->block_size - size)
            return false;
    }
    __builtin_memcpy(to, (const char *)q->block + (at - q->block_start), size);
    return true;
}

static int access_mem(unw_addr_space_t as, unw_word_t at, unw_word_t *value, int write, void *arg)
{
    (void)as;
    if (write)
        return -UNW_EINVAL;
    if (IS_FAKE(at)) {
        *value = at | SEEN;
        return 0;
    }
    return read_table(arg, at, value, sizeof(*value)) ? 0 : -UNW_EINVAL;
}

static int access_reg(unw_addr_space_t as, unw_regnum_t number, unw_word_t *value, int write,
                      void *arg)
{
    (void)as;
    if (write)
        return -UNW_EREADONLYREG;
    *value = number == REG_IP_ ? ((struct question *)arg)->ip : fake_register(number);
    return 0;
}

static int access_fpreg(unw_addr_space_t as, unw_regnum_t number, unw_fpreg_t *value, int write,
                        void *arg)
{
    (void)as, (void)number, (void)value, (void)write, (void)arg;
    return -UNW_EBADREG;
}

static int no_dynamic_list(unw_addr_space_t as, unw_word_t *list, void *arg)
{
    (void)as, (void)list, (void)arg;
    return -UNW_ENOINFO;
}

static void put_unwind_info(unw_addr_space_t as, unw_proc_info_t *info, void *arg)
{
    (void)as, (void)info, (void)arg;
}

static int no_resume(unw_addr_space_t as, unw_cursor_t *cursor, void *arg)
{
    (void)as, (void)cursor, (void)arg;
    return -UNW_EINVAL;
}

/* By the search table of the object (.eh_frame_hdr) in the one form that linkers write. */
static int find_proc_info(unw_addr_space_t as, unw_word_t ip, unw_proc_info_t *info, int need,
                          void *arg)
{
    struct question *q = arg;
    struct dl_find_object object;
    struct {
        uint8_t version, frame_encoding, count_encoding, table_encoding;
        int32_t frame;
        uint32_t count;
    } head;
    q->looked = ip;
    if (lib.find_object((void *)ip, &object) != 0)
        return -UNW_ENOINFO;
    uintptr_t at = (uintptr_t)object.dlfo_eh_frame;
    /* udata4; datarel, sdata4 */
    if (at == 0 || !read_table(q, at, &head, sizeof(head)) || head.version != 1 ||
        head.count_encoding != 0x03 || head.table_encoding != 0x3b)
        return -UNW_ENOINFO;
    unw_dyn_info_t search = {
        .start_ip = (uintptr_t)object.dlfo_map_start,
        .end_ip = (uintptr_t)object.dlfo_map_end,
        .format = UNW_INFO_FORMAT_REMOTE_TABLE,
        .u.rti = {.segbase = at, .table_len = head.count, .table_data = at + sizeof(head)},
    };
    int ret = lib.search(as, ip, &search, info, need, q);
    q->has_table = ret >= 0;
    return ret;
}

/* An offset that a rule can hold. */
static bool fits(int64_t offset, unsigned bits)
{
    int64_t limit = (int64_t)8 << (bits - 1);
    return (offset & 7) == 0 && offset >= -limit && offset < limit;
}

/* What a register became: relative to the CFA, or 0 where it is what it was. */
static bool place_of(uint64_t value, int number, uint64_t cfa, int64_t *offset)
{
    if (number >= 0 && value == fake_register(number)) {
        *offset = 0;
        return true;
    }
    *offset = (int64_t)((value & ~SEEN) - cfa);
    return IS_SEEN(value) && *offset != 0;
}

/* The rule that one step with the made-up registers shows. */
static struct rule interpret(unw_cursor_t *cursor)
{
    struct rule r = {.kind = RULE_LAST};
    unw_word_t cfa, fp, ra;
    if (lib.get_reg(cursor, REG_SP_, &cfa) < 0 || lib.get_reg(cursor, REG_RA_, &ra) < 0)
        return r;
    if (lib.get_reg(cursor, REG_FP_, &fp) < 0) /* lost: whatever fp holds is as good */
        fp = fake_register(REG_FP_);
    if (!IS_FAKE(cfa) || !place_of(ra, REG_LR_, cfa, &r.ra) || !place_of(fp, REG_FP_, cfa, &r.fp))
        return r;
    int64_t from_sp = (int64_t)(cfa - fake_register(REG_SP_));
    int64_t from_fp = (int64_t)(cfa - fake_register(REG_FP_));
    r.cfa = fits(from_sp, CFA_BITS) ? from_sp : from_fp;
    if (fits(r.cfa, CFA_BITS) && fits(r.fp, FP_BITS) && fits(r.ra, RA_BITS))
        r.kind = r.cfa == from_sp ? RULE_SP : RULE_FP;
    return r;
}

/* A handler that is big, deep or on a small stack must not overflow it because of us. */
static bool has_room(long pid)
{
    char here;
    char byte;
    stack_t alternate = {.ss_flags = SS_DISABLE};
    uintptr_t at = (uintptr_t)&here;
    /* What lies below an alternate stack is often memory of the program, and no guard. A little
     * below it we are if it has overflowed already: that the kernel does not call on the stack. */
    if (!k_failed(k_sigaltstack(NULL, &alternate)) && (alternate.ss_flags & SS_DISABLE) == 0) {
        uintptr_t base = (uintptr_t)alternate.ss_sp;
        if (at - base < alternate.ss_size)
            return at - base >= RULES_ROOM;
        if (base - at < RULES_ROOM)
            return false;
    }
    uintptr_t top = getauxval(AT_RANDOM); /* above the main stack, which grows when it is used */
    if (at < top && top - at < (8ul << 20))
        return true;
    return rules_read(pid, at - RULES_ROOM, &byte, 1) == 1;
}

static struct rule consult(struct question *q, uintptr_t address)
{
    unw_cursor_t cursor;
    q->ip = address + subtracted;
    int ret = lib.init(&cursor, space, q);
    if (ret >= 0)
        ret = lib.step(&cursor);
    if (!q->has_table)
        return (struct rule){.kind = RULE_CHAIN};
    return ret > 0 ? interpret(&cursor) : (struct rule){.kind = RULE_LAST};
}

/* What a signal handler returns to: the system call rt_sigreturn. */
static bool is_restorer(struct question *q, uintptr_t address)
{
#if defined(__x86_64__)
    static const unsigned char code[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};
#elif defined(__aarch64__)
    static const unsigned char code[] = {0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4};
#endif
    unsigned char there[sizeof(code)];
    return read_table(q, address, there, sizeof(there)) &&
           __builtin_memcmp(code, there, sizeof(code)) == 0;
}

static __attribute__((noinline)) struct rule ask(long pid, uintptr_t address, bool exact,
                                                 rules_code is_code, void *owner)
{
    struct question q = {.pid = pid};
    struct dl_find_object object;
    struct rule rule = {.kind = RULE_LATER};
    if (!exact && is_restorer(&q, address + 1))
        return (struct rule){.kind = RULE_SIGNAL};
    if (lib.find_object((void *)address, &object) != 0)
        return (struct rule){.kind = is_code && is_code(owner, address) ? RULE_CHAIN : RULE_NONE};
    if (!has_room(pid))
        return rule;
    int saved = errno;
    atomic_fetch_add(&asking, 1);
    if (!atomic_load(&mute))
        rule = consult(&q, address);
    atomic_fetch_sub(&asking, 1);
    errno = saved;
    return rule;
}

/* ---- known addresses ---- */

static void keep(uintptr_t address, const struct rule *rule)
{
    uint64_t word = pack(rule);
    size_t slot = address * 0x9e3779b97f4a7c15u >> 40;
    for (unsigned i = 0; i < PROBES; i++) {
        struct answer *k = &known[(slot + i) % RULES];
        uint64_t there = atomic_load_explicit(&k->address, memory_order_relaxed);
        if (there == 0)
            atomic_compare_exchange_strong_explicit(&k->address, &there, address,
                                                    memory_order_relaxed, memory_order_relaxed);
        if (there == 0 || there == address) {
            atomic_store_explicit(&k->rule, word, memory_order_relaxed);
            return;
        }
    }
}

struct rule rules_find(long pid, uintptr_t address, bool exact, rules_code is_code, void *owner)
{
    size_t slot = address * 0x9e3779b97f4a7c15u >> 40;
    for (unsigned i = 0; i < PROBES; i++) {
        struct answer *k = &known[(slot + i) % RULES];
        uint64_t there = atomic_load_explicit(&k->address, memory_order_relaxed);
        uint64_t word = atomic_load_explicit(&k->rule, memory_order_relaxed);
        if (there == address && word != 0)
            return unpack(word);
        if (there == 0)
            break;
    }
    struct rule rule = ask(pid, address, exact, is_code, owner);
    if (rule.kind != RULE_NONE && rule.kind != RULE_LATER)
        keep(address, &rule);
    return rule;
}

/* ---- loading ---- */

/*
 * libunwind opens a pipe, once, by the lowest free numbers, which programs may rely on. So the low
 * numbers are taken while it does.
 */
static void consult_with_low_numbers_taken(struct question *q, uintptr_t address)
{
    uint64_t taken[16] = {0};
    long first = descriptor_first();
    long fd = k_openat(AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0);
    long root = fd;
    for (; !k_failed(fd) && fd < first && fd < 1024; fd = k_fcntl((int)root, F_DUPFD_CLOEXEC, 0))
        taken[fd / 64] |= 1ull << fd % 64;
    if (!k_failed(fd))
        k_close((int)fd);
    consult(q, address);
    for (fd = 0; fd < 1024; fd++) {
        if (taken[fd / 64] >> fd % 64 & 1)
            k_close((int)fd);
    }
}

static bool resolve(void *libunwind)
{
    static const char *const names[] = {NAME(create_addr_space), NAME(init_remote), NAME(step),
                                        NAME(get_reg), NAME(dwarf_search_unwind_table)};
    void *found[5];
    for (int i = 0; i < 5; i++) {
        found[i] = dlsym(libunwind, names[i]);
        if (!found[i])
            return false;
    }
    lib.create = (unw_addr_space_t(*)(unw_accessors_t *, int))(uintptr_t)found[0];
    lib.init = (int (*)(unw_cursor_t *, unw_addr_space_t, void *))(uintptr_t)found[1];
    lib.step = (int (*)(unw_cursor_t *))(uintptr_t)found[2];
    lib.get_reg = (int (*)(unw_cursor_t *, int, unw_word_t *))(uintptr_t)found[3];
    lib.search = (int (*)(unw_addr_space_t, unw_word_t, unw_dyn_info_t *, unw_proc_info_t *, int,
                          void *))(uintptr_t)found[4];
    return true;
}

/* Asks for our own code, and sees how libunwind takes addresses. NULL, or what is wrong. */
static const char *try_out(void)
{
    uintptr_t here = (uintptr_t)&rules_load;
    struct question q = {.pid = k_getpid()};
    uint32_t word;
    if (rules_read(q.pid, here, &word, sizeof(word)) != sizeof(word))
        return "process_vm_readv() is refused (by a seccomp filter?)";
    consult_with_low_numbers_taken(&q, here);
    subtracted = here - q.looked;
    q = (struct question){.pid = q.pid};
    struct rule rule = consult(&q, here);
    if (q.looked != here || rule.kind != RULE_SP)
        return LIBRARY " does not read the tables of this library";
    return NULL;
}

static const char *load(void)
{
    static unw_accessors_t accessors = {
        .find_proc_info = find_proc_info,
        .put_unwind_info = put_unwind_info,
        .get_dyn_info_list_addr = no_dynamic_list,
        .access_mem = access_mem,
        .access_reg = access_reg,
        .access_fpreg = access_fpreg,
        .resume = no_resume,
    };
    lib.find_object =
        (int (*)(void *, struct dl_find_object *))(uintptr_t)dlsym(RTLD_DEFAULT, "_dl_find_object");
    if (!lib.find_object)
        return "this libc has no _dl_find_object() (glibc 2.35 has)";
    void *libunwind = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!libunwind)
        return LIBRARY " cannot be loaded (on Debian it is in the package libunwind8)";
    if (!resolve(libunwind))
        return LIBRARY " lacks functions of libunwind 1.6";
    space = lib.create(&accessors, 0);
    long ret =
        zone_map(RULES * sizeof(*known), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (!space || k_failed(ret))
        return "there is no memory";
    known = (struct answer *)(uintptr_t)ret;
    return try_out();
}

const char *rules_load(void)
{
    int saved = errno;
    const char *missing = load();
    dlerror(); /* not for the program to find */
    errno = saved;
    return missing;
}

bool rules_object(uintptr_t address, uintptr_t *start, uintptr_t *end)
{
    struct dl_find_object object;
    if (lib.find_object((void *)address, &object) != 0)
        return false;
    *start = (uintptr_t)object.dlfo_map_start;
    *end = (uintptr_t)object.dlfo_map_end;
    return true;
}

void rules_reset_in_child(void)
{
    if (atomic_exchange(&asking, 0) != 0)
        atomic_store(&mute, true);
}
