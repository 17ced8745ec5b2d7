#!/bin/bash
# SPDX-License-Identifier: MIT
# jvm.sh CASE REMAPSTAT LIBRARY CLASSES EXAMPLE [COLLECTOR]: a JVM under the shim behaves as it does
# without. Each case runs plain and in every way of $modes; what it puts into $said is compared.
# CLASSES and EXAMPLE are the build directories of tests/jvm and examples/jvm. JAVA_HOME chooses the
# JVM. Exit status 0, 1, or 77 (skipped).
set -u
case=$1 remapstat=$2 library=$3 classes=$4 example=$5 collector=${6:-G1}
# The ways to be shimmed: in the caller's environment, and with one variable more.
modes=(default 'REMAP_CATCH=symbol,syscall,realloc')
bound=(timeout -k 5 60)
deadline=30 # seconds, for anything that is waited for

skip() {
    echo "$case: skipped: $*"
    exit 77
}

fail() {
    echo "$case ($mode): $*" >&2
    [[ ! -s $here/err ]] || tail -n 20 "$here/err" >&2
    exit 1
}

bin=${JAVA_HOME:+$JAVA_HOME/bin/}
for tool in java jcmd jstack; do
    command -v "$bin$tool" >/dev/null || skip "there is no $bin$tool (openjdk-17-jdk-headless)"
done
[[ -e $classes/Behaviour.class ]] || skip "not built: meson setup found no JDK"

dir=$(mktemp -d) || exit 1
pid=''
trap '[[ -z $pid ]] || kill -KILL "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
mkdir -m 700 "$dir/stats"
# Kept after the end, they show that the library was there.
export REMAP_STATS_DIR=$dir/stats REMAP_STATS=keep
unset LD_PRELOAD JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS _JAVA_OPTIONS
ulimit -c 0

# use MODE: sets $run, what commands are run with, $here, a directory for the mode, and $said, what
# is compared.
use() {
    mode=$1 here=$dir/${1//[!a-z]/} run=(env)
    case $mode in
    plain) ;;
    default) run+=("LD_PRELOAD=$library") ;;
    *) run+=("LD_PRELOAD=$library" "$mode") ;;
    esac
    said=$here/said
    mkdir -p "$said"
}

# java ARGUMENTS...
java() {
    "${bound[@]}" "${run[@]}" "$bin"java -XX:+Use"$collector"GC -Xmx192m \
        -XX:ErrorFile="$here/crash" -Djava.library.path="$classes" -cp "$classes" "$@"
}

# wait_for WHAT COMMAND...: until the command succeeds
wait_for() {
    local what=$1 until=$((SECONDS + deadline))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || fail "$what: not in $deadline seconds: $(tail -n 5 "$here/out")"
        sleep 0.02
    done
}

# start ARGUMENTS...: Waiting as process $pid, which reads what is written to descriptor 9
start() {
    mkfifo "$here/in"
    (
        bound=(exec) # the process is to be the JVM itself
        java -Dremap.test=yes "$@" Waiting <"$here/in" >"$here/out" 2>"$here/err"
    ) &
    pid=$!
    exec 9>"$here/in"
    wait_for up grep -qx up "$here/out"
    [[ $mode == plain ]] || grep -q "$library" "/proc/$pid/maps" || fail "the library is not loaded"
}

gone() {
    ! kill -0 "$pid" || [[ $(cut -d ' ' -f 3 "/proc/$pid/stat") == Z ]]
}

# finish: leaves the exit status of Waiting
finish() {
    wait_for end gone
    wait "$pid"
    echo "status $?" >"$said/status"
    pid=''
    exec 9>&-
}

# tell LINE ANSWER
tell() {
    echo "$1" >&9
    wait_for "$2" grep -qx "$2" "$here/out"
}

# ---- cases ----

# Exceptions made of signals, guard pages, safepoints, buffers, JNI; its exit status is 7.
program() {
    mkdir "$here/files"
    java -Xcheck:jni Behaviour "$here/files" >"$said/out" 2>"$here/err"
    echo "status $?" >"$said/status"
    grep -q 'status 7' "$said/status" || fail "$(cat "$said/status" "$said/out")"
    # Where the JVM warns, it does so in both.
    sed -E 's/^\[[^]]*s\]//' "$here/err" | sort -u >"$said/err"
}

# ask NAME PATTERN COMMAND...: the lines of its output that match, without addresses and numbers
ask() {
    local name=$1 pattern=$2 tool=$3
    shift 3
    "${bound[@]}" "${run[@]}" "$bin$tool" "$@" >"$here/$name" 2>&1
    echo "status $?" >"$said/$name"
    grep -oE "$pattern" "$here/$name" | sort -u >>"$said/$name"
    (($(wc -l <"$said/$name") > 1)) || fail "$name: $(head -n 20 "$here/$name")"
}

# jcmd, jstack and the attach API, all of them shimmed too.
tools() {
    start
    ask threads '^"(main|moving|Signal Dispatcher|VM Thread)"|Full thread dump' \
        jcmd "$pid" Thread.print
    ask heap '(garbage-first|PSYoungGen|ZHeap|def new)' jcmd "$pid" GC.heap_info
    ask dump 'Heap dump file created' jcmd "$pid" GC.heap_dump "$here/heap.hprof"
    head -c 18 "$here/heap.hprof" >"$said/magic"
    grep -q 'JAVA PROFILE' "$said/magic" || fail "no heap dump"
    ask stacks '^"(main|moving)"|Full thread dump' jstack "$pid"
    java Attach "$pid" >"$said/attach" 2>&1
    grep -qx yes "$said/attach" || fail "attach: $(cat "$said/attach")"
    exec 9>&-
    finish
}

# The large categories of native memory; and of 16 MiB of buffers it sees 16 MiB.
native_memory() {
    start -XX:NativeMemoryTracking=detail
    ask baseline 'Baseline .*' jcmd "$pid" VM.native_memory baseline
    tell work worked
    # Some smaller ones come and go by themselves.
    ask diff '(Java Heap|Class|Thread|Code|GC|Internal|Other|Symbol) \(reserved' \
        jcmd "$pid" VM.native_memory summary.diff
    grep -qE '^- *Other .*\+16[3-9][0-9]{2}KB' "$here/diff" ||
        fail "the buffers are not seen: $(grep Other "$here/diff")"
    ask detail 'Virtual memory map' jcmd "$pid" VM.native_memory detail
    exec 9>&-
    finish
}

signals() {
    start
    kill -USR2 "$pid"
    wait_for 'its handler of SIGUSR2' grep -qx 'signal USR2' "$here/out"
    kill -QUIT "$pid"
    wait_for 'the thread dump' grep -q '^Full thread dump' "$here/out"
    wait_for 'the end of the thread dump' grep -qE '^ *(Metaspace|class space) ' "$here/out"
    tell work worked
    kill -TERM "$pid"
    finish
    grep -qx hook "$here/out" || fail "the shutdown hook did not run"
}

# report PATTERN: of the report of a crash
report() {
    [[ -s $here/crash ]] || fail "no report of the crash"
    grep -oE "$1" "$here/crash" | sort -u >"$said/crash"
    tail -n 1 "$here/crash" >"$said/last"
    grep -qx END. "$said/last" || fail "the report is cut off"
}

crash_signal() {
    start
    kill -SEGV "$pid"
    finish
    report 'SIGSEGV \(0xb\)|si_code: 0 \(SI_USER\)|^---.*---$'
}

crash_native() {
    start
    echo crash >&9
    finish
    report 'SIGSEGV \(0xb\)|si_addr: 0x0*8|Java_Moves_crash|^---.*---$'
    grep -q Java_Moves_crash "$said/crash" || fail "the report does not name the frame"
}

# Children inherit the preload, however they are made.
children() {
    local how preload='' loaded=0 expected
    [[ $mode == plain ]] || preload=$library loaded=1
    # shellcheck disable=SC2016 # the child expands it
    local child='n=$(grep -c libremap.so /proc/self/maps)
        echo "loaded $((n > 0)) preload ($LD_PRELOAD)"; exit 5'
    expected="     12 loaded $loaded preload ($preload) status 5"
    for how in POSIX_SPAWN VFORK FORK; do
        java -Djdk.lang.Process.launchMechanism="$how" Children sh -c "$child" \
            >"$here/out" 2>"$here/err"
        echo "$how: status $?" >>"$said/status"
        [[ $(sort "$here/out" | uniq -c) == "$expected" ]] || fail "$how: $(cat "$here/out")"
    done
}

out_of_memory() {
    java -Xmx48m -XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath="$here/heap.hprof" \
        -XX:+ExitOnOutOfMemoryError OutOfMemory >"$here/out" 2>"$here/err"
    echo "status $?" >"$said/status"
    head -c 18 "$here/heap.hprof" >"$said/magic"
    grep -q 'JAVA PROFILE' "$said/magic" || fail "no heap dump"
}

field() {
    grep -oE "(^| )$1=[^ ]+" "$here/out" | sed 's/.*=//'
}

# The collector of examples/jvm: right in all, and as few VMAs as can be where pages can be moved.
compaction() {
    local vmas runs
    "${bound[@]}" "${run[@]}" "$bin"java -XX:+Use"$collector"GC -Xmx192m \
        -Djava.library.path="$example" \
        -cp "$example" Compaction --objects 6000 --seconds 2 >"$here/out" 2>"$here/err"
    echo "status $?" >"$said/status"
    grep -q 'status 0' "$said/status" || fail "$(cat "$said/status" "$here/out")"
    vmas=$(field range_vmas) runs=$(field range_runs)
    echo "$mode: $vmas VMAs, $runs runs, $(field moves) moves, $(field relocated) relocated"
    [[ $mode != plain && $tier != none ]] || return 0
    ((vmas * 100 <= runs * 105)) || fail "$vmas VMAs for $runs runs"
}

tier=$("$remapstat" probe --json | sed -nE 's/^ *"tier": *"(.*)",?$/\1/p')
for way in plain "${modes[@]}"; do
    use "$way"
    "$case"
    [[ $mode != plain ]] || continue
    diff -r "$dir/plain/said" "$said" >&2 || fail "not as without the library"
    [[ -n $(ls "$REMAP_STATS_DIR") ]] || fail "no move was seen by the library"
    rm -f "$REMAP_STATS_DIR"/*
done
if [[ $case == compaction && $tier == none ]]; then
    skip "contents right, but nothing can be relocated here: $("$remapstat" probe --json |
        sed -nE 's/^ *"tier_why": *"(.*)",?$/\1/p')"
fi
exit 0
