# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the scripts share that test the command as its users meet it. Sourced, not run; $case is set.
#
# Leaves a directory, $dir, for who sources this to remove at the end.

dir=$(mktemp -d) || exit 1
for name in "${!REMAP_@}"; do
    unset "$name"
done
unset LD_PRELOAD
mkdir -m 700 "$dir/stats"
export REMAP_STATS_DIR=$dir/stats

fail() {
    echo "${case:?}: $*" >&2
    exit 1
}

skip() {
    echo "$case: skipped: $*"
    exit 77
}

# expect STATUS COMMAND...: output goes to $dir/out and $dir/err. A command that skips ends the test so.
expect() {
    local want=$1 status
    shift
    "$@" >"$dir/out" 2>"$dir/err" </dev/null
    status=$?
    if ((status == 77 && want != 77)); then
        cat "$dir/out"
        exit 77
    fi
    ((status == want)) || fail "status $status, not $want: $* ($(tail -n 3 "$dir/err"))"
}

# seen TEXT, said TEXT: what stands in the last output and in the last messages
seen() {
    grep -q -- "$1" "$dir/out" || fail "no '$1' in: $(cat "$dir/out")"
}
said() {
    grep -q -- "$1" "$dir/err" || fail "no '$1' in the messages: $(cat "$dir/err")"
}
