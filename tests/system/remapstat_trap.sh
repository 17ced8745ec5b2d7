#!/bin/bash
# SPDX-License-Identifier: MIT
# remapstat_trap.sh CASE REMAPSTAT LIBRARY HELPERS: what the command says of ways, of the trap and of
# seccomp filters. HELPERS is the directory of mover, lone, filtered and jsoncheck. Exit status 0, 1,
# or 77 (skipped).
set -u
case=$1 remapstat=$2 library=$3 helpers=$4
mover=$helpers/mover
json=$helpers/jsoncheck
# shellcheck source=tests/system/command.sh
source "$(dirname "$0")/command.sh"
trap 'rm -rf "$dir"' EXIT

# holds FILE TEXT...: each of the texts is there.
holds() {
    local file=$dir/$1 text
    shift
    for text; do
        grep -qF -- "$text" "$file" || fail "'$text' is not in: $(cat "$file")"
    done
}

run_options() {
    expect 0 "$remapstat" run --lib "$library" --catch symbol,realloc --callers 3 --trap guarded -- \
        sh -c 'echo "$REMAP_CATCH $REMAP_CALLERS $REMAP_TRAP"'
    holds out "symbol,realloc 3 guarded"
    ! grep -q seccomp "$dir/err" || fail "the trap is explained to who did not ask for it"
    local bad
    for bad in --catch=nonsense --catch= --catch=symbol,,trap --callers=33 --callers=x --trap=never; do
        expect 2 "$remapstat" run --lib "$library" "$bad" -- true
        holds err "${bad%%=*}=" "allowed is"
        expect 2 "$remapstat" "$bad"
    done
}

run_trap() {
    expect 0 "$remapstat" run --lib "$library" --catch symbol,trap -- "$helpers/lone"
    holds err no_new_privs exec kills "--trap always"
    [[ $(cat "$dir/out") == "1 0 "* ]] || {
        [[ $(cat "$dir/out") != "0 12 "* ]] || exit 77 # no filter may be set here
        fail "no trap: $(cat "$dir/out")"
    }
    holds err "calls by way: trap 1"
    expect 0 env REMAP_LOG=error "$remapstat" run --lib "$library" --catch trap -- "$helpers/lone"
    ! grep -q no_new_privs "$dir/err" || fail "not quiet"
    # From a program that starts others, lone inherits it.
    expect 0 "$remapstat" run --lib "$library" --catch trap --trap always -- \
        sh -c "$helpers/lone; :"
    holds err "REMAP_TRAP=always"
    [[ $(cat "$dir/out") == "1 "* ]] || fail "no trap: $(cat "$dir/out")"
}

# Asked for and refused: the program runs, and is told why.
run_refused() {
    printf 'move 3\nquit\n' | "$remapstat" run --lib "$library" --catch symbol,trap -- "$mover" \
        >"$dir/out" 2>"$dir/err" || fail "status $?"
    holds err "(mover): --catch trap is not possible: the program can start others"
    printf 'move 3\nquit\n' | "$remapstat" run --json --lib "$library" --catch symbol,trap -- \
        "$mover" >"$dir/out" 2>"$dir/err" || fail "status $?"
    grep -v '^remap' "$dir/err" | grep -v '^[0-9]*$' | "$json" object ways ||
        fail "no ways: $(cat "$dir/err")"
    holds err '"why": "children"'
}

show_ways() {
    coproc PEER { LD_PRELOAD=$library REMAP_CATCH=symbol,realloc,trap REMAP_LOG=error exec "$mover"; }
    local pid=$PEER_PID
    echo "move 5" >&"${PEER[1]}"
    read -r _ <&"${PEER[0]}" || fail "the mover did not answer"
    expect 0 "$remapstat" "$pid"
    holds out "Calls by way" "symbol" "not in REMAP_CATCH" "the program can start others"
    expect 0 "$remapstat" --json "$pid"
    "$json" object ways <"$dir/out" || fail "$(cat "$dir/out")"
    holds out '"why": "not_asked"' '"why": "children"'
    echo quit >&"${PEER[1]}"
    wait "$pid"
}

probe_plain() {
    expect 0 "$remapstat" probe
    holds out "trap "
    expect 0 "$remapstat" probe --json
    "$json" object trap killed_by=0 <"$dir/out" || fail "$(cat "$dir/out")"
}

knobs=("--security-opt seccomp=" containers.conf localhostProfile "SystemCallFilter=@system-service userfaultfd")

probe_eperm() {
    expect 0 "$helpers/filtered" EPERM userfaultfd "$remapstat" probe
    holds out "seccomp   filter" EPERM "forbidden by a seccomp filter" "${knobs[@]}"
    expect 0 "$helpers/filtered" EPERM userfaultfd "$remapstat" probe --json
    "$json" object seccomp=filter killed_by=0 <"$dir/out" || fail "$(cat "$dir/out")"
}

probe_enosys() {
    expect 0 "$helpers/filtered" ENOSYS userfaultfd "$remapstat" probe
    holds out "seccomp   filter" ENOSYS "probably a container's profile" "${knobs[@]}"
}

probe_killed() {
    expect 0 "$helpers/filtered" kill userfaultfd "$remapstat" probe
    holds out "seccomp   filter" "kills on userfaultfd" "would be killed here" "${knobs[@]}"
    expect 0 "$helpers/filtered" kill userfaultfd "$remapstat" probe --json
    "$json" object tier=none killed_by=31 <"$dir/out" || fail "$(cat "$dir/out")"
    expect 0 "$helpers/filtered" kill mremap "$remapstat" probe
    holds out "kills on another system call"
}

probe_no_more_filters() {
    expect 0 "$helpers/filtered" EPERM seccomp "$remapstat" probe
    holds out "trap "
    mkdir "$dir/lib"
    : >"$dir/lib/libseccomp.so.2"
    expect 0 env LD_LIBRARY_PATH="$dir/lib" "$remapstat" probe
    holds out "trap      not possible: libseccomp.so.2 cannot be loaded"
}

"$case" || exit 1
