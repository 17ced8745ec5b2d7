#!/bin/bash
# SPDX-License-Identifier: MIT
# remapstat.sh CASE REMAPSTAT LIBRARY HELPERS: the command as its users meet it. HELPERS is the
# directory of mover and jsoncheck. Exit status 0, 1, or 77 (skipped).
set -u
case=$1 remapstat=$2 library=$3 helpers=$4
mover=$helpers/mover
json=$helpers/jsoncheck
# shellcheck source=tests/system/command.sh
source "$(dirname "$0")/command.sh"
trap 'rm -rf "$dir"' EXIT
keys=(pid comm vmas runs limit tier policy calls moves relocated merged saved bytes_moved)

# start_mover: a shimmed process that has moved memory, as the coprocess with pid $pid
start_mover() {
    coproc PEER { LD_PRELOAD=$library exec "$mover"; }
    pid=$PEER_PID
    local answer
    echo "move ${1:-5}" >&"${PEER[1]}"
    read -r answer <&"${PEER[0]}" || fail "the mover did not answer"
    [[ -e $REMAP_STATS_DIR/$pid ]] || fail "no statistics file of the mover"
}

stop_mover() {
    echo quit >&"${PEER[1]}"
    wait "$pid"
}

run_status() {
    expect 0 "$remapstat" run --lib "$library" -- true
    expect 7 "$remapstat" run --lib "$library" -- sh -c 'exit 7'
    expect 127 "$remapstat" run --lib "$library" -- "$dir/nothing-here"
    : >"$dir/plain"
    expect 126 "$remapstat" run --lib "$library" -- "$dir/plain"
}

run_moves() {
    printf 'move 9\nstatus 3\n' |
        "$remapstat" run --lib "$library" -- "$mover" >"$dir/out" 2>"$dir/err"
    (($? == 3)) || fail "the exit status is lost"
    [[ $(cat "$dir/out") =~ ^[0-9]+$ ]] || fail "stdout is not the program's alone: $(cat "$dir/out")"
    [[ -s $dir/err ]] || fail "no summary"
}

run_signal() {
    expect 143 "$remapstat" run --lib "$library" -- sh -c 'kill -TERM $$'
    # A signal to remapstat reaches the program, and the program's end is remapstat's.
    mkfifo "$dir/up"
    # It must not wait in a system call: a shell that is signalled just before that waits for ever.
    "$remapstat" run --lib "$library" -- \
        sh -c 'trap "exit 9" TERM; echo up; while :; do :; done' \
        >"$dir/up" 2>"$dir/err" </dev/null &
    local runner=$! line
    read -r line <"$dir/up"
    kill -TERM "$runner"
    wait "$runner"
    local status=$?
    ((status == 9)) || fail "status $status after SIGTERM"
}

run_appends() {
    local seen
    expect 0 env LD_PRELOAD="$library" "$remapstat" run --lib "$library" -- \
        sh -c 'echo "$LD_PRELOAD $REMAP_POLICY"'
    seen=$(cat "$dir/out")
    [[ $seen == *"$library"* ]] || fail "LD_PRELOAD is '$seen'"
    expect 0 env LD_PRELOAD="$helpers/libcounting.so" "$remapstat" run --policy always \
        --lib "$library" -- sh -c 'echo "$LD_PRELOAD $REMAP_POLICY"'
    seen=$(cat "$dir/out")
    [[ $seen == "$helpers/libcounting.so"[:\ ]"$library always" ]] || fail "LD_PRELOAD is '$seen'"
}

run_summary() {
    printf 'move 9\nquit\n' | "$remapstat" run --json --lib "$library" -- "$mover" \
        >"$dir/out" 2>"$dir/err" || fail "status $?"
    grep -v '^[0-9]*$' "$dir/err" | "$json" object || fail "the summary: $(cat "$dir/err")"
}

json_list() {
    expect 0 "$remapstat" --json
    "$json" array <"$dir/out" || fail "an empty list"
    start_mover
    expect 0 "$remapstat" --json
    "$json" "pid=$pid" comm=mover calls=5 moves=5 "${keys[@]}" <"$dir/out" || fail "list"
    expect 0 "$remapstat"
    grep -q "$pid.*mover" "$dir/out" || fail "not in the table: $(cat "$dir/out")"
    stop_mover
}

json_pid() {
    start_mover 12
    expect 0 "$remapstat" --json "$pid"
    "$json" object "pid=$pid" moves=12 "${keys[@]}" <"$dir/out" || fail "$(cat "$dir/out")"
    local lines
    lines=$(wc -l <"/proc/$pid/maps")
    "$json" object "vmas=$lines" <"$dir/out" || fail "vmas"
    expect 0 "$remapstat" "$pid"
    stop_mover
}

interval() {
    start_mover
    expect 0 "$remapstat" --json "$pid" 1 2
    "$json" lines "pid=$pid" <"$dir/out" || fail "lines"
    (($(wc -l <"$dir/out") == 2)) || fail "not two lines"
    stop_mover
}

json_probe() {
    expect 0 "$remapstat" probe --json
    "$json" object tier <"$dir/out" || fail "$(cat "$dir/out")"
    expect 0 "$remapstat" probe
}

json_env() {
    expect 0 env REMAP_POLICY=always REMAP_MAX_BYTES=lots "$remapstat" env --json
    "$json" array variable value from <"$dir/out" || fail "$(cat "$dir/out")"
    grep -q lots "$dir/out" || fail "the bad value is not shown"
    expect 0 "$remapstat" env
}

# Nothing to sum up, and what can be told of why.
run_nothing() {
    expect 0 "$remapstat" run --lib "$library" -- true
    said 'no memory was moved .*try --catch symbol,syscall,realloc'
    expect 0 "$remapstat" run --lib "$library" --catch realloc -- true
    said 'no memory was moved'
    ! grep -q 'try --catch' "$dir/err" || fail "advice that was followed: $(cat "$dir/err")"
    mkdir -m 777 "$dir/open"
    expect 0 env REMAP_STATS_DIR="$dir/open" "$remapstat" run --lib "$library" -- true
    said 'no file can be made in .*/open (EPERM)'
}

usage() {
    expect 0 "$remapstat" --help
    [[ -s $dir/out && ! -s $dir/err ]] || fail "--help belongs on stdout"
    expect 0 "$remapstat" --version
    expect 2 "$remapstat" --no-such-option
    [[ -s $dir/err && ! -s $dir/out ]] || fail "usage errors belong on stderr"
    expect 2 "$remapstat" 0x12
    expect 2 "$remapstat" -5
    expect 2 "$remapstat" 1 nonsense
    expect 2 "$remapstat" run
    expect 2 "$remapstat" -o NO_SUCH_COLUMN
}

not_there() {
    expect 1 "$remapstat" 999999999
    [[ -s $dir/err ]] || fail "no message about a process that is gone"
    # Without the shim there are no statistics to show in columns, but there is a process to look at.
    expect 1 "$remapstat" -o PID $$
    [[ -s $dir/err ]] || fail "no message about a process without the shim"
    expect 1 "$remapstat" $$ 1 1
    expect 0 "$remapstat" --json $$
    "$json" object "pid=$$" shim kinds <"$dir/out" || fail "$(cat "$dir/out")"
    expect 0 "$remapstat" $$
    grep -q 'does not run under the shim' "$dir/out" || fail "$(cat "$dir/out")"
}

# A full disk is an error, not a success.
full_output() {
    start_mover
    "$remapstat" --json >/dev/full 2>"$dir/err" && fail "success on a full disk"
    "$remapstat" --help >/dev/full 2>"$dir/err" && fail "success of --help on a full disk"
    stop_mover
}

# Files that are damaged, cut off, too big, or no files: a message or nothing, never a crash.
hostile_files() {
    start_mover
    local original=$dir/original size at file=$REMAP_STATS_DIR
    cp "$file/$pid" "$original"
    size=$(stat -c %s "$original")
    try() {
        local what
        for what in "" "$$" "$pid"; do
            # shellcheck disable=SC2086
            "$remapstat" --json $what >"$dir/out" 2>"$dir/err"
            (($? <= 1)) || fail "status $? with $1"
            # shellcheck disable=SC2086
            "$remapstat" $what >"$dir/out" 2>"$dir/err"
            (($? <= 1)) || fail "status $? with $1"
        done
    }
    for at in 0 1 8 15 16 20 24 31 32 100 256 "$((size - 1))"; do
        head -c "$at" "$original" >"$file/$$"
        try "a file of $at bytes"
    done
    for ((at = 0; at < 300; at += 3)); do
        cp "$original" "$file/$$"
        printf '\xff\xff\xff\xff\xff\xff\xff\xff' |
            dd of="$file/$$" bs=1 seek="$at" conv=notrunc status=none
        "$remapstat" --json >"$dir/out" 2>"$dir/err"
        (($? <= 1)) || fail "status $? with rubbish at $at"
        "$json" array <"$dir/out" || fail "no JSON with rubbish at $at"
    done
    head -c "$size" /dev/urandom >"$file/$$"
    try "random bytes"
    { printf REMAPSTA && head -c $((size - 8)) /dev/urandom; } >"$file/$$"
    try "random bytes behind the magic"
    truncate -s 1G "$file/$$"
    try "a file of 1 GiB"
    rm "$file/$$" && mkfifo "$file/$$"
    try "a FIFO"
    rm "$file/$$" && ln -s /dev/zero "$file/$$"
    try "a link to a device"
    rm "$file/$$" && mkdir "$file/$$"
    try "a directory"
    rmdir "$file/$$"
    : >"$file/-1" && : >"$file/4711x" && : >"$file/99999999999999999999" && : >"$file/0"
    try "odd names"
    chmod 000 "$file" && try "an unreadable directory"
    chmod 700 "$file"
    stop_mover
}

# What a name may hold reaches neither the terminal nor the JSON unescaped.
odd_names() {
    cp "$mover" "$dir/$(printf 'a"\\\033[31m\nb')" || fail "copy"
    mover=$dir/$(printf 'a"\\\033[31m\nb')
    start_mover
    expect 0 "$remapstat" --json
    "$json" "pid=$pid" comm <"$dir/out" || fail "$(cat "$dir/out")"
    expect 0 "$remapstat"
    ! grep -q "$(printf '\033')" "$dir/out" || fail "an escape sequence reached the terminal"
    stop_mover
}

"$case" || exit 1
