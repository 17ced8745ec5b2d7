# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What guests reported, judged and counted, and the table. Sourced, not run.
#
# A guest runs the tests in two rounds: "default", and "copy", which are the suites that ask for the
# tier of that name (their names begin with "copy-"). Each round is a row of the table.

: "${scratch:?}" "${debian_arch:?}" "${label?}" # the caller's
table=() reasons='' total_passed=0 total_failed=0 total_skipped=0

# What in a console means that the kernel itself is in trouble. Debian's kernels print none of these
# while they boot.
trouble='BUG:|WARNING:|Oops|Kernel panic|general protection fault|hung_task|blocked for more than'
trouble+='|rcu.*(stall|starved)|soft lockup|hard LOCKUP|Bad page|Bad rss-counter|Call Trace'
trouble+='|KASAN|UBSAN|refcount_t|Out of memory: Killed|invoked oom-killer|unable to handle'

# Where moves relocate, a program has at most so many VMAs for each contiguous run, in hundredths.
most_vmas_per_run=105

warnings() {
    grep -aE "$trouble" "$1/console"
}

# lines WORD [ROUND]: what the guest reported under it, the word itself off; of tests that round's.
lines() {
    sed -n "s/^@$1 //p" "$dir/report" | case ${2-} in
    '') cat ;;
    default) grep -v '^copy-' ;;
    *) grep "^$2-" ;;
    esac
}

# collector ROUND plain|shimmed [KEY]: what that run printed, or one value of it.
collector() {
    lines collector | sed -n "s/^$1 $2 //p" | case ${3-} in
    '') cat ;;
    *) tr ' ' '\n' | sed -n "s/^$3=//p" ;;
    esac
}

fault() {
    echo "FAILED: $*"
    failed=$((failed + 1))
}

# judge_collector ROUND TIER: says what is wrong, and sets the last cells of its row.
judge_collector() {
    local kind vmas runs
    plain=$(collector default plain vmas)
    vmas=$(collector "$1" shimmed vmas) runs=$(collector "$1" shimmed runs)
    ratio=
    ((${runs:-0} == 0)) || ratio=$(awk -v v="$vmas" -v r="$runs" 'BEGIN { printf "%.2f", v / r }')
    cells="$plain|$vmas|$runs|$ratio"
    for kind in plain shimmed; do
        [[ $1 == default || $kind == shimmed ]] || continue
        [[ $(collector "$1" "$kind" errors) == 0 ]] ||
            fault "$name: the collector model, $kind: $(collector "$1" "$kind")"
    done
    [[ $2 == none || -z $ratio ]] || ((vmas * 100 <= runs * most_vmas_per_run)) ||
        fault "$name: the collector model has $vmas VMAs for $runs runs: $(collector "$1" shimmed)"
}

# judge_round ROUND TIER PLANNED
judge_round() {
    local round=$1 tier=$2 planned=$3 passed failed skipped plain ratio cells ended
    passed=$(lines pass "$round" | wc -l)
    failed=$(lines fail "$round" | wc -l)
    skipped=$(lines skip "$round" | wc -l)
    ended=$((passed + failed + skipped))
    cells='|||'
    [[ $tier == - ]] || judge_collector "$round" "$tier" # -: the guest did not come so far
    ((ended >= planned)) || {
        echo "FAILED: $name: $((planned - ended)) of $planned tests did not end"
        failed=$((failed + planned - ended))
    }
    ((table_row)) || failed=$((failed + kernel_failed)) # what is no test's is the first row's
    reasons+=$(lines skip "$round" | sed -E "s|^([^ ]*) (.*)|$name: \2 \1|" | group)$'\n'
    table+=("$full|$tier|$passed|$failed|$skipped|$cells|$warned|$took")
    ((table_row++)) || :
    total_passed=$((total_passed + passed))
    total_failed=$((total_failed + failed))
    total_skipped=$((total_skipped + skipped))
    echo "$name, tier $tier: $passed passed, $failed failed, $skipped skipped"
}

# judge DIR NAME STATUS: adds one kernel's rows, and prints what there is to say of it. STATUS is
# timeout's.
judge() {
    local dir=$1 name=$2$label status=$3 full warned took lost round tier planned failed=0
    local kernel_failed table_row=0
    full=$(lines kernel)
    [[ $full == *"-$debian_arch" ]] || full=${full:-$2}$label # Debian's say it themselves
    warned=$(warnings "$dir" | wc -l)
    took=$(($(stat -c %Y "$dir/console" "$dir/report" | sort -n | tail -n 1) - $(<"$dir/began")))
    [[ ${verbose:?} == no ]] || cat "$dir/console" "$dir/report"
    if [[ $status != 0 ]] || ! grep -q '^@done' "$dir/report"; then
        fault "$name: the guest did not come to its end (status $status, limit ${limit:?} s)"
        tail -n 15 "$dir/console" "$dir/qemu" | sed 's/^/    /'
    fi
    lost=$(comm -23 <(lines start | sort) \
        <(lines '\(pass\|skip\|fail\)' | cut -d ' ' -f 1 | sort) | tr '\n' ' ')
    [[ -z $lost ]] || echo "FAILED: $name: began and never ended: $lost"
    sed -n '/^@fail/,/^@end/p' "$dir/report" |
        sed -E "/^@end/d; s|^@fail |FAILED: $name: |; t; s/^/    /"
    if ((warned)); then
        fault "$name: the kernel complained:"
        grep -aE -B 2 -A 25 "$trouble" "$dir/console" | sed 's/^/    /'
    fi
    # What the guest lacks that it was to have: our fault with Debian's kernels only.
    while read -r problem; do
        case $problem in
        'debian '*) fault "$name: ${problem#debian }" ;;
        *) echo "$name: ${problem#own }" ;;
        esac
    done < <(lines problem)
    kernel_failed=$failed
    if ! grep -q '^@round default' "$dir/report"; then
        judge_round default - "$(wc -l <"$scratch/tests")"
    fi
    while read -r round tier planned; do
        judge_round "$round" "$tier" "$planned"
        [[ $tier != native ]] || echo "$name: this kernel relocates by itself"
    done < <(lines round)
}

# not_to_be_had VERSION REASON: a row for it.
not_to_be_had() {
    table+=("$1$label|not to be had|||||||||")
    reasons+="skipped: the kernel $1$label: $2"$'\n'
    total_skipped=$((total_skipped + 1))
}

# group: "REASON NAME" lines to one line for each reason, with the names below.
group() {
    awk '{ name = $NF; sub(/ [^ ]*$/, ""); if (!($0 in names)) order[++n] = $0
           names[$0] = names[$0] " " name; count[$0]++ }
         END { for (i = 1; i <= n; i++) {
             print "skipped on " order[i] " (" count[order[i]] "):"; print "   " names[order[i]] } }' |
        fold -s -w 100 | sed '/^skipped on /! s/^ */    /'
}

print_table() {
    local row
    {
        echo -n 'kernel|tier|passed|failed|skipped|VMAs plain|VMAs shimmed|runs|VMAs/runs|warnings|'
        echo 'seconds'
        for row in "${table[@]}"; do
            echo "$row"
        done
    } | sed ':again; s/||/|-|/g; t again; s/|$/|-/' | column -t -s '|'
    grep . <<<"$reasons"
    echo "$total_passed passed, $total_failed failed, $total_skipped skipped"
}
