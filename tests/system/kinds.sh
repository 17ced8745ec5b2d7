#!/bin/bash
# SPDX-License-Identifier: MIT
# kinds.sh CASE REMAPSTAT LIBRARY HELPERS: the kinds of VMAs that `remapstat PID` tells, against what
# programs were made to map. HELPERS is the directory of kinds_scene and mover. Exit status 0, 1, or
# 77 (skipped).
set -u
case=$1 remapstat=$2 library=$3 helpers=$4
# shellcheck source=tests/system/command.sh
source "$(dirname "$0")/command.sh"
pid=
preload=
trap 'exec 2>/dev/null; [[ -n $pid ]] && kill -KILL $pid; rm -rf "$dir"' EXIT
unset JAVA_TOOL_OPTIONS

command -v jq >/dev/null || skip "there is no jq"

# look [OPTION...]: the process $pid into $dir/now
look() {
    "$remapstat" --json "$@" "$pid" >"$dir/now" 2>"$dir/err" || fail "status $? ($(cat "$dir/err"))"
}

# of KIND [vmas|bytes] [FILE]
of() {
    jq --arg kind "$1" --arg key "${2:-vmas}" \
        '[.kinds[] | select(.kind == $kind) | .[$key]] | add // 0' "${3:-$dir/now}"
}

# Every VMA is of one kind.
sums() {
    [[ $(jq '([.kinds[].vmas] | add) == .vmas' "$dir/now") == true ]] || fail "$(cat "$dir/now")"
}

start_scene() {
    coproc PEER { exec "$helpers/kinds_scene"; }
    pid=$PEER_PID
    local answer
    read -r answer <&"${PEER[0]}" || fail "the scene did not start"
    look
    sums
}

# more COMMAND NUMBER: has the scene map more. $dir/before and $dir/now tell the difference.
more() {
    local answer
    cp "$dir/now" "$dir/before"
    echo "$1 $2" >&"${PEER[1]}"
    read -r answer <&"${PEER[0]}" || fail "the scene did not answer"
    look
    sums
}

# grew KIND LEAST [MOST]: by so many VMAs
grew() {
    local by=$(($(of "$1") - $(of "$1" vmas "$dir/before")))
    ((by >= $2 && by <= ${3:-$2})) ||
        fail "$1: $by more, not $2 to ${3:-$2}: $(jq -c .kinds "$dir/before" "$dir/now")"
}

# Whether remapstat could read the scene's memory, which it says itself.
need_headers() {
    [[ $(jq -r .malloc "$dir/now") == headers ]] || skip "the memory of a process may not be read here"
}

# Neighbours of equal attributes merge: the uppermost one may have joined what lies above it.
stacks() {
    start_scene
    need_headers
    more threads 20
    grew stacks 39 40
    more threads 1
    grew stacks 1 2
}

arenas() {
    start_scene
    more arenas 6
    grew malloc_arenas 12
    local bytes=$(($(of malloc_arenas bytes) - $(of malloc_arenas bytes "$dir/before")))
    ((bytes == 6 * 64 * 1024 * 1024)) || fail "6 arenas of 64 MiB have $bytes bytes"
}

chunks() {
    start_scene
    need_headers
    more chunks 10
    grew malloc_chunks 9 10
    grew anonymous -1 0
}

others() {
    start_scene
    more anonymous 50
    grew anonymous 50
    grew no_access 51
    more files 9
    grew files 9
    more shared 8
    grew shared 8
    [[ $(of special) == $(grep -c '\[v' "/proc/$pid/maps") ]] || fail "special: $(of special)"
    [[ $(jq .shim "$dir/now") == false && $(jq .jvm "$dir/now") == null ]] || fail "shim, jvm"
}

# Near the limit, and more than one screen of work for everybody.
many() {
    start_scene
    (($(jq .limit "$dir/now") > 62000)) || skip "vm.max_map_count is too small"
    more anonymous 30000
    grew anonymous 30000
    grew no_access 30001
    "$remapstat" "$pid" >"$dir/out" || fail "status $?"
    sed -n '/^KIND/,/^total/p' "$dir/out" | sed '1d;$d' | awk '{print $2}' | sort -nrc ||
        fail "order: $(cat "$dir/out")"
    grep -q '^total  *6[0-9]\{4\} ' "$dir/out" || fail "total: $(cat "$dir/out")"
}

# The library's own: what the mover has more with it than without.
own() {
    local answer
    coproc PEER { LD_PRELOAD=$library exec "$helpers/mover"; }
    pid=$PEER_PID
    echo "move 5" >&"${PEER[1]}"
    read -r answer <&"${PEER[0]}" || fail "the mover did not answer"
    look
    sums
    [[ $(jq .shim "$dir/now") == true ]] || fail "shim"
    local files
    files=$(grep -c "$library\|$REMAP_STATS_DIR" "/proc/$pid/maps")
    (($(of libremap) > files && $(of libremap) <= 9)) || fail "$(jq -c .kinds "$dir/now")"
}

# A process that ends while we look is gone, or was seen; nothing else.
vanishing() {
    local _
    for _ in {1..50}; do
        "$helpers/kinds_scene" </dev/null >"$dir/answer" &
        "$remapstat" --json $! >"$dir/now" 2>"$dir/err"
        (($? <= 1)) || fail "status $?"
        wait $!
    done
}

usage() {
    local words
    for words in "--jvm" "--jvm 1 1" "--jvm -o PID 1" "probe --jvm" "run --jvm -- true"; do
        # shellcheck disable=SC2086
        "$remapstat" $words >"$dir/out" 2>"$dir/err"
        (($? == 2)) || fail "status $?: $words"
    done
    "$remapstat" --jvm --json $$ >"$dir/now" 2>"$dir/err" || fail "status $?"
    (($(wc -l <"$dir/err") == 1)) || fail "not one line: $(cat "$dir/err")"
}

# start_java OPTION...: a JVM that waits for the end of its input
start_java() {
    local answer
    command -v java >/dev/null || skip "there is no java"
    cat >"$dir/Wait.java" <<'EOF'
public class Wait {
    public static void main(String[] args) throws Exception {
        System.out.println("up");
        System.in.read();
    }
}
EOF
    coproc PEER { LD_PRELOAD=$preload exec java -Xmx64m "$@" "$dir/Wait.java" 2>"$dir/java"; }
    pid=$PEER_PID
    read -r answer <&"${PEER[0]}"
    [[ ${answer-} == up ]] || skip "java $* did not run: $(head -n 1 "$dir/java")"
    look
}

# near KIND BYTES: give or take a twentieth
near() {
    local bytes
    bytes=$(of "$1" bytes)
    ((bytes * 20 >= $2 * 19 && bytes * 20 <= $2 * 21)) || fail "$1: $bytes bytes, not $2: $(cat "$dir/now")"
}

# What holds with every collector. Most threads of a JVM have a guard, some are just running.
plausible() {
    local threads stacks
    sums
    threads=$(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 | wc -l)
    stacks=$(of stacks)
    ((stacks >= threads && stacks <= 2 * threads + 12)) || fail "$threads threads: $stacks stacks"
    near code_cache $((240 << 20))
    (($(of metaspace bytes) >= 1000 << 20)) || fail "metaspace: $(cat "$dir/now")"
    (($(of jvm_other) >= 1)) || fail "the performance data file: $(cat "$dir/now")"
}

readonly common=(-XX:ReservedCodeCacheSize=240m -XX:CompressedClassSpaceSize=1g -XX:+UsePerfData)

jvm_g1() {
    start_java "${common[@]}" -XX:+UseG1GC
    need_headers
    plausible
    [[ $(jq -r .jvm "$dir/now") == layout ]] || fail "jvm: $(jq .jvm "$dir/now")"
    [[ $(of java_heap bytes) == $((64 << 20)) ]] || fail "heap: $(of java_heap bytes)"
    command -v jcmd >/dev/null || skip "there is no jcmd"
    local bounds heap
    bounds=$(jcmd "$pid" GC.heap_info | sed -n 's/.*garbage-first.*\[\(0x[0-9a-f]*\), \(0x[0-9a-f]*\)).*/\2-\1/p')
    [[ -n $bounds ]] || skip "this JVM does not tell the bounds of its heap"
    heap=$((bounds))
    ((heap == 64 << 20)) || fail "the JVM has $heap bytes of heap"
    look --jvm
    plausible
    [[ $(jq -r .jvm "$dir/now") == vm_info && ! -s $dir/err ]] || fail "--jvm: $(cat "$dir/err")"
    [[ $(of java_heap bytes) == "$heap" ]] || fail "heap: $(of java_heap bytes)"
}

jvm_nmt() {
    start_java "${common[@]}" -XX:+UseG1GC -XX:NativeMemoryTracking=detail
    command -v jcmd >/dev/null || skip "there is no jcmd"
    look --jvm
    plausible
    [[ $(jq -r .jvm "$dir/now") == nmt && ! -s $dir/err ]] || fail "--jvm: $(cat "$dir/err")"
    [[ $(of java_heap bytes) == $((64 << 20)) ]] || fail "heap: $(of java_heap bytes)"
    (($(of jvm_gc) >= 1)) || fail "$(cat "$dir/now")"
    near metaspace "$(jcmd "$pid" VM.native_memory summary scale=1 |
        sed -n 's/^- *\(Class\|Metaspace\|Shared class space\) (reserved=\([0-9]*\),.*/\2/p' |
        paste -sd+ | { read -r sum && echo $((sum)); })"
    "$remapstat" --jvm "$pid" >"$dir/out" || fail "status $?"
    grep -q 'native memory tracking' "$dir/out" || fail "$(cat "$dir/out")"
}

# Its heap is shared memory, mapped several times, and the reserve behind each.
jvm_zgc() {
    start_java "${common[@]}" -XX:+UseZGC
    need_headers
    plausible
    local least
    least=$(grep -c 'memfd:java_heap' "/proc/$pid/maps")
    ((least)) || skip "the heap is not in a memfd"
    (($(of java_heap) >= least && $(of java_heap) <= 2 * least)) || fail "heap: $(of java_heap)"
    [[ $(of shared) == 0 ]] || fail "shared: $(cat "$dir/now")"
}

# Under the shim, which never comes to move anything here: the file of the JVM that is named after the
# process as well is not taken for statistics.
jvm_shim() {
    preload=$library
    start_java "${common[@]}" -XX:+UseSerialGC
    plausible
    [[ $(jq .shim "$dir/now") == true ]] || fail "shim"
    (($(of libremap) >= 3)) || fail "$(jq -c .kinds "$dir/now")"
}

# The JVM cannot be asked: one line, and what can be told without it.
jvm_silent() {
    start_java "${common[@]}" -XX:+UseSerialGC
    mkdir "$dir/bin"
    local what problem
    # shellcheck disable=SC2016 # that is for the script to expand
    for what in 'exit 1' 'printf "$1:\nit \033[31mhurts\n"; exit 3' \
        '/usr/bin/head -c 3000000 /dev/urandom' 'kill -KILL $$' none; do
        printf '#!/bin/sh\n%s\n' "$what" >"$dir/bin/jcmd"
        chmod 700 "$dir/bin/jcmd"
        [[ $what == none ]] && rm "$dir/bin/jcmd"
        "$(command -v env)" PATH="$dir/bin:/nowhere" "$remapstat" --jvm --json "$pid" \
            >"$dir/now" 2>"$dir/err" </dev/null || fail "status $? with '$what'"
        [[ $(jq -r .jvm "$dir/now") == layout ]] || fail "jvm with '$what': $(jq .jvm "$dir/now")"
        problem=$(<"$dir/err")
        (($(wc -l <"$dir/err") == 1)) || fail "with '$what': $problem"
        ! grep -q "$(printf '\033')" "$dir/err" || fail "an escape sequence reached the terminal"
        plausible
    done
}

"$case" || exit 1
