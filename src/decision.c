/* SPDX-License-Identifier: MIT */
#include "decision.h"

#include "kernel.h"
#include "page_size.h"
#include "place.h"

long decision_call_plain(const struct decision *d)
{
    struct wrap_call plain = *d->call;
    plain.flags &= ~DECISION_OURS;
    long ret = d->plain(&plain);
    if (ret == -ENOMEM) {
        place_discard();
        ret = d->plain(&plain);
    }
    return ret;
}

void decision_set(struct decision *d, enum remap_outcome outcome, enum remap_reason reason,
                  long result)
{
    d->result = result;
    d->account.outcome = outcome;
    d->account.reason = reason;
    if (k_failed(result)) {
        d->account.outcome = REMAP_OUTCOME_FAILED;
        d->account.error = -result;
        if (reason != REMAP_REASON_MUST)
            d->account.reason = REMAP_REASON_KERNEL;
    } else if ((uintptr_t)result != d->call->addr) {
        d->account.moved = 1;
        d->account.bytes = page_align(
            d->call->old_length < d->call->new_length ? d->call->old_length : d->call->new_length);
    }
}

void decision_pass(struct decision *d, enum remap_reason reason)
{
    decision_set(d, REMAP_OUTCOME_PASSED, reason, decision_call_plain(d));
}

void decision_refuse(struct decision *d, enum remap_reason reason)
{
    if (!d->must) {
        decision_set(d, REMAP_OUTCOME_PLAIN, reason, decision_call_plain(d));
        return;
    }
    if (d->call->flags & K_MREMAP_FIXED)
        k_munmap(d->call->dst, page_align(d->call->new_length));
    decision_set(d, REMAP_OUTCOME_FAILED, REMAP_REASON_MUST, -EFAULT);
}
