#!/bin/bash
# SPDX-License-Identifier: MIT
# sites.sh CASE REMAPSTAT LIBRARY HELPERS: `remapstat sites` as its users meet it. HELPERS is the
# directory of sites_scene and jsoncheck. Exit status 0, 1, or 77 (skipped).
set -u
case=$1 remapstat=$2 library=$3 helpers=$4
json=$helpers/jsoncheck
# shellcheck source=tests/system/command.sh
source "$(dirname "$0")/command.sh"
perf_map=
trap 'rm -rf "$dir" ${perf_map:+"$perf_map"}' EXIT

# start [VARIABLE=VALUE]...: the scene as the coprocess with pid $pid; its page is at $page
start() {
    coproc PEER { exec env LD_PRELOAD="$library" "$@" "$helpers/sites_scene"; }
    pid=$PEER_PID
    read -r page <&"${PEER[0]}" || fail "the scene did not answer"
    file=$REMAP_STATS_DIR/$pid
    [[ -e $file ]] || fail "no statistics file of the scene"
}

stop() {
    local fd=${PEER[1]}
    exec {fd}>&-
    wait "$pid"
}

names() {
    start REMAP_CALLERS=16
    expect 0 "$remapstat" sites "$pid"
    seen "^Process $pid "
    seen 'first_place+0x[0-9a-f]* (sites_scene) \[sites_scene.c:'
    seen 'main+0x[0-9a-f]* (sites_scene)'
    # The hottest first; the innermost frame first.
    [[ $(grep -o 'first_place\|second_place' "$dir/out" | head -n 1) == second_place ]] ||
        fail "not the hottest first: $(cat "$dir/out")"
    grep -A 2 'MOVES' "$dir/out" | sed -n '3p' | grep -q '^ *0  \(go\|second_place\)+' ||
        fail "not the innermost frame first: $(cat "$dir/out")"
    expect 0 "$remapstat" sites -n "$pid"
    ! grep -q MOVES "$dir/out" || fail "headings"
    stop
}

in_json() {
    start REMAP_CALLERS=16
    expect 0 "$remapstat" sites --json "$pid"
    "$json" object "pid=$pid" comm=sites_scene depth=16 dropped=0 sites <"$dir/out" ||
        fail "$(cat "$dir/out")"
    jq -e '[.sites[].moves] == ([.sites[].moves] | sort | reverse) and
           ([.sites[].moves] | add) >= 8 and .symbols and
           (.sites[0].frames | map(.function) | index("second_place") != null) and
           (.sites | map(select(.moves == 3)) | length == 1) and
           (.sites | map(select(.moves == 3))[0].bytes == 49152) and
           (.sites | all(.via == "symbol"))' <"$dir/out" >"$dir/verdict" ||
        fail "$(cat "$dir/out")"
    stop
}

by_column() {
    start REMAP_CALLERS=16
    expect 0 "$remapstat" sites -n -o MOVES,VIA,SITE "$pid"
    grep -q '^ *5 symbol ' "$dir/out" || fail "$(cat "$dir/out")"
    expect 0 "$remapstat" sites -o stack "$pid"
    expect 0 "$remapstat" sites -o FRAMES "$pid"
    seen 'second_place.*;main'
    expect 0 "$remapstat" sites --json -o MOVES "$pid"
    jq -e '.sites | all(keys == ["moves"])' <"$dir/out" >"$dir/verdict" || fail "$(cat "$dir/out")"
    expect 2 "$remapstat" sites -o NONSENSE "$pid"
    stop
}

# The map that a JIT compiler writes; code there is replaced, and names are anybody's.
perf_map() {
    start REMAP_CALLERS=16
    [[ $page != 0 ]] || exit 77
    perf_map=/tmp/perf-$pid.map
    expect 0 "$remapstat" sites "$pid"
    seen " 0x$(printf '%x' $((0x$page + 6)))\$"
    {
        printf 'nonsense\n-1 10 minus\n 10 10 blank\nzz 1 letters\n%s 0 empty\n' "$page"
        printf '%s 20 old name\n' "$page"
        printf '%s 8 LScene;::run \033[31m\n' "$page"
        printf 'fffffffffffffff0 ffffffffffffffff wrapped\n'
        printf '%x 8 beside' $((0x$page + 8))
    } >"$perf_map"
    expect 0 "$remapstat" sites "$pid"
    seen 'LScene;::run \\x1b\[31m+0x6$'
    ! grep -q "$(printf '\033')" "$dir/out" || fail "an escape sequence reached the terminal"
    expect 0 "$remapstat" sites --json "$pid"
    jq -e '[.sites[].frames[] | select(.function // "" | startswith("LScene"))] | length == 1' \
        <"$dir/out" >"$dir/verdict" || fail "$(cat "$dir/out")"
    # Nothing but a regular file of the process's user or root is believed, and nothing blocks.
    mv "$perf_map" "$dir/map" && ln -s "$dir/map" "$perf_map"
    expect 0 "$remapstat" sites "$pid"
    ! grep -q LScene "$dir/out" || fail "a symbolic link was followed"
    rm "$perf_map" && mkfifo "$perf_map"
    expect 0 timeout 20 "$remapstat" sites "$pid"
    rm "$perf_map" && : >"$perf_map"
    expect 0 "$remapstat" sites "$pid"
    truncate -s 1G "$perf_map"
    expect 0 "$remapstat" sites "$pid"
    rm "$perf_map" && cp "$dir/map" "$perf_map"
    if ((EUID == 0)); then
        chown 65534 "$perf_map"
        expect 0 "$remapstat" sites "$pid"
        ! grep -q LScene "$dir/out" || fail "another user's map was believed"
    fi
    stop
}

# What a stranger's object says of where its debug information is, is not followed.
debuglink() {
    command -v objcopy >/dev/null || skip "objcopy (binutils) is not installed"
    mkdir "$dir/bin"
    : >"$dir/bin/scene.debug"
    objcopy --strip-debug --remove-section .note.gnu.build-id \
        --add-gnu-debuglink="$dir/bin/scene.debug" "$helpers/sites_scene" "$dir/bin/sites_scene" ||
        fail "objcopy"
    rm "$dir/bin/scene.debug" && mkfifo "$dir/bin/scene.debug"
    helpers=$dir/bin start REMAP_CALLERS=16
    expect 0 timeout 20 "$remapstat" sites "$pid"
    seen 'first_place+0x[0-9a-f]* (sites_scene)$'
    stop
}

# A file of the program that is not the one that is mapped gives no names.
replaced_file() {
    mkdir "$dir/bin"
    cp "$helpers/sites_scene" "$dir/bin/sites_scene"
    helpers=$dir/bin start REMAP_CALLERS=16
    cp "$dir/bin/sites_scene" "$dir/bin/other" && mv "$dir/bin/other" "$dir/bin/sites_scene"
    expect 0 "$remapstat" sites "$pid"
    ! grep -q second_place "$dir/out" || fail "names from another file"
    seen 'sites_scene'
    stop
}

left_behind() {
    start REMAP_CALLERS=16 REMAP_STATS=keep
    stop
    expect 0 "$remapstat" sites "$pid"
    said 'has ended'
    seen ' 0  0x[0-9a-f]*$'
    expect 0 "$remapstat" sites --json "$pid"
    jq -e '.symbols == false and .alive == false and .sites[0].moves == 5' <"$dir/out" \
        >"$dir/verdict" || fail "$(cat "$dir/out")"
}

not_recorded() {
    start REMAP_CALLERS=0
    expect 1 "$remapstat" sites "$pid"
    said 'REMAP_CALLERS=16'
    stop
    start REMAP_CALLERS=4 REMAP_POLICY=observe
    expect 0 "$remapstat" sites "$pid"
    stop
    expect 1 "$remapstat" sites $$
    said 'does not run under the shim'
    expect 1 "$remapstat" sites 999999999
    expect 2 "$remapstat" sites
    expect 2 "$remapstat" sites 1 2
    expect 2 "$remapstat" sites nonsense
}

# poke OFFSET SIZE VALUE: into the file, little-endian
poke() {
    local i bytes=
    for ((i = 0; i < $2; i++)); do
        bytes+=$(printf '\\x%02x' $(($3 >> 8 * i & 255)))
    done
    # shellcheck disable=SC2059
    printf "$bytes" | dd of="$file" bs=1 seek="$1" conv=notrunc status=none
}

offset_at=276 table_at=3648
dropped_at=$((table_at + 16)) slot_at=$((table_at + 24)) slot_size=312

hostile() {
    start REMAP_CALLERS=16
    cp "$file" "$dir/good"
    local size value i
    size=$(stat -c %s "$file")
    refused() {
        expect 1 "$remapstat" sites "$pid"
        said 'call sites is damaged\|wrong\|cut short'
        expect 1 "$remapstat" sites --json "$pid"
        cat "$dir/good" >"$file"
    }
    for value in 8 280 3640 3649 $((size - 8)) "$size" 0xffffffff 0x7ffffff8; do
        poke $offset_at 4 "$value"
        refused
    done
    for value in 0 257 4097 0xffffffff 0x80000000; do
        poke $table_at 4 "$value"
        refused
    done
    for value in 0 8 311 313 4104 0xffffffff; do
        poke $((table_at + 4)) 4 "$value"
        refused
    done
    truncate -s $((size - 1)) "$file"
    refused
    truncate -s $((table_at + 10)) "$file"
    refused
    # Slots that make no sense are no sites; whatever else stands there is shown, or not.
    for ((i = 0; i < 256; i++)); do
        poke $((slot_at + i * slot_size + 54)) 2 33
    done
    expect 0 "$remapstat" sites --json "$pid"
    jq -e '.sites == []' <"$dir/out" >"$dir/verdict" || fail "$(cat "$dir/out")"
    for ((i = 0; i < 256; i += 5)); do
        head -c 312 /dev/urandom |
            dd of="$file" bs=1 seek=$((slot_at + i * slot_size)) conv=notrunc status=none
        poke $((slot_at + i * slot_size + 48)) 4 1
        poke $((slot_at + i * slot_size + 54)) 2 32
    done
    poke $dropped_at 8 7
    expect 0 "$remapstat" sites "$pid"
    seen '^7 moves more'
    expect 0 "$remapstat" sites --json "$pid"
    "$json" object sites <"$dir/out" || fail "no JSON with rubbish in the slots"
    stop
}

# Files as earlier versions of the library wrote them have no sites.
earlier_versions() {
    start REMAP_CALLERS=0
    poke 12 4 1
    poke 16 4 3504
    poke $offset_at 4 8 # what was reserved then means nothing
    expect 1 "$remapstat" sites "$pid"
    said 'REMAP_CALLERS=16'
    expect 0 "$remapstat" --json "$pid"
    poke 12 4 0
    poke 16 4 3480
    expect 1 "$remapstat" sites "$pid"
    said 'REMAP_CALLERS=16'
    stop
}

jvm() {
    command -v java >/dev/null && command -v jcmd >/dev/null || exit 77
    cat >"$dir/Grow.java" <<'JAVA'
public class Grow {
    static sun.misc.Unsafe unsafe;
    static void grow(int rounds) {
        long[] blocks = new long[16];
        for (long size = 1 << 18; size <= 1 << 22; size *= 2)
            for (int i = 0; i < blocks.length; i++) {
                blocks[i] = blocks[i] == 0 ? unsafe.allocateMemory(size)
                                           : unsafe.reallocateMemory(blocks[i], size);
                for (long at = 0; at < size; at += 4096)
                    unsafe.putByte(blocks[i] + at, (byte) 1);
            }
    }
    public static void main(String[] arguments) throws Exception {
        java.lang.reflect.Field field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
        field.setAccessible(true);
        unsafe = (sun.misc.Unsafe) field.get(null);
        grow(1);
        System.out.println("ready");
        while (System.in.read() >= 0)
            ;
    }
}
JAVA
    coproc PEER {
        exec env LD_PRELOAD="$library" REMAP_CALLERS=32 REMAP_CATCH=symbol,syscall,realloc \
            java -Xint -XX:+PreserveFramePointer "$dir/Grow.java" 2>"$dir/java"
    }
    pid=$PEER_PID
    read -r _ <&"${PEER[0]}" || fail "java: $(cat "$dir/java")"
    perf_map=/tmp/perf-$pid.map
    jcmd "$pid" Compiler.perfmap >"$dir/jcmd" 2>&1
    if [[ ! -s $perf_map ]]; then
        kill "$pid"
        echo "this JVM writes no map"
        exit 77
    fi
    "$remapstat" sites "$pid" >"$dir/out" 2>"$dir/err"
    local status=$?
    kill "$pid"
    ((status == 0)) || fail "status $status: $(cat "$dir/err")"
    seen 'realloc'
    seen 'Unsafe_ReallocateMemory.* (libjvm.so)'
    seen 'Interpreter+0x'
}

"$case" || exit 1
