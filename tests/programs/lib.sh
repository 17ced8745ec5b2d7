# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Runs a program plain and shimmed and compares. Sourced by programs.sh, not run.
#
# A program that prints a line "done" and then waits for a line on its standard input is looked at
# in between: its VMAs are counted from outside, with all that it did still there.
# shellcheck disable=SC2034 # some are used by who sources it

# The distribution's programs, which the expectations are about.
PATH=/usr/bin:/bin:$PATH
catch_all=symbol,syscall,realloc
modes=(plain default realloc)
patience=60 # seconds that a program may be silent

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap : PIPE # a program that ends early is found out by its output
for name in "${!REMAP_@}"; do
    unset "$name"
done
unset LD_PRELOAD
mkdir -m 700 "$dir/stats"
export REMAP_STATS_DIR=$dir/stats

fail() {
    # shellcheck disable=SC2154 # set by who sources this
    echo "$case: $*" >&2
    exit 1
}

skip() {
    echo "skipped: $*"
    exit 77
}

# need PROGRAM...: skips where one is not installed.
need() {
    local program
    for program; do
        command -v "$program" >/dev/null || skip "$program is not installed"
    done
}

# count PID: its VMAs, and how few they could be, as `remapstat` defines both (VMAS and RUNS).
count() {
    awk '{
        split($1, range, "-")
        name = $6
        private = $2 ~ /p$/ && $5 == 0
        anonymous = private && (name == "" || name == "[heap]" || name ~ /^\[anon:/)
        for (i = 7; i <= NF; i++)
            name = name " " $i
        vmas++
        if (!(anonymous && previous && range[1] == end && $2 " " name == key))
            runs++
        previous = anonymous
        end = range[2]
        key = $2 " " name
    }
    END { print vmas, runs }' "/proc/$1/maps"
}

# ratio A B: A / B with two digits, rounded up: what is shown as 1.02 is at most that.
ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", int(a / b * 100 + 0.999) / 100 }'
}

# statistic MODE KEY: of the run's processes together.
statistic() {
    jq ".total.$2" "$dir/$1.json"
}

declare -A status vmas runs seconds

# run MODE COMMAND...: leaves MODE.out, MODE.err and (shimmed) MODE.json in $dir and fills the
# arrays above. $input: a file that is sent to its standard input first.
run() {
    local mode=$1 pid='' line runner to from started silent='' shim=()
    shift
    [[ $mode == plain ]] || shim=("$remapstat" run --json --lib "$library" --)
    [[ $mode == realloc ]] && shim=(env REMAP_CATCH="$catch_all" "${shim[@]}")
    rm -f "$dir/in" "$dir/to"
    mkfifo "$dir/in" "$dir/to" || fail "no FIFO"
    vmas[$mode]=- runs[$mode]=-
    : >"$dir/$mode.err"
    started=$EPOCHREALTIME
    # What says its process id becomes the program; its messages do not mix with remapstat's.
    # shellcheck disable=SC2016
    "${shim[@]}" bash -c 'echo $$ && exec "$@" 2>"$0"' "$dir/$mode.err" "$@" \
        <"$dir/in" >"$dir/to" 2>"$dir/$mode.json" &
    runner=$!
    exec {to}>"$dir/in" {from}<"$dir/to"
    if [[ -n ${input-} ]]; then
        cat "$input" >&"$to"
    fi
    IFS= read -r -t "$patience" -u "$from" pid
    while IFS= read -r -t "$patience" -u "$from" line || { silent=$?; [[ -n $line ]]; }; do
        [[ $line != "done" ]] || break
        printf '%s\n' "$line"
        silent=''
    done >"$dir/$mode.out"
    seconds[$mode]=$(awk -v a="$started" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }')
    if [[ $line == "done" ]]; then
        read -r "vmas[$mode]" "runs[$mode]" < <(count "$pid")
        if [[ $mode != plain ]]; then
            grep -q 'libremap\.so' "/proc/$pid/maps" || fail "$mode: the library is not loaded"
        fi
        echo .quit >&"$to" # for sqlite3; the others take any line
    elif ((silent > 128)); then
        kill "$pid" "$runner"
        fail "$mode: silent for $patience seconds"
    fi
    exec {to}>&-
    cat <&"$from" >>"$dir/$mode.out"
    exec {from}<&-
    wait "$runner"
    status[$mode]=$?
}

# compare COMMAND...: plain and shimmed, in a table; each must end as the plain one, having said the
# same. $before: a function that is called with the mode before each run, $after: behind it.
# $filter: a function through which the outputs go before they are compared.
compare() {
    local mode stream per
    printf '%-8s %6s %6s %9s %7s %9s %8s %6s\n' \
        mode VMAs runs VMAs/runs moves relocated seconds status
    for mode in "${modes[@]}"; do
        "${before:-:}" "$mode"
        run "$mode" "$@"
        "${after:-:}" "$mode"
        per=- moves=- relocated=-
        [[ ${vmas[$mode]} == - ]] || per=$(ratio "${vmas[$mode]}" "${runs[$mode]}")
        if [[ $mode != plain ]]; then
            moves=$(statistic "$mode" moves) relocated=$(statistic "$mode" relocated) ||
                fail "$mode: no summary: $(cat "$dir/$mode.json")"
        fi
        printf '%-8s %6s %6s %9s %7s %9s %8s %6s\n' "$mode" "${vmas[$mode]}" "${runs[$mode]}" \
            "$per" "$moves" "$relocated" "${seconds[$mode]}" "${status[$mode]}"
    done
    ((status[plain] == 0)) || fail "the plain one: $(tail -n 5 "$dir/plain.out" "$dir/plain.err")"
    for mode in "${modes[@]}"; do
        for stream in out err; do
            "${filter:-cat}" <"$dir/$mode.$stream" >"$dir/$mode.$stream.compared"
            cmp "$dir/plain.$stream.compared" "$dir/$mode.$stream.compared" ||
                fail "$mode: $stream differs: $(tail -n 5 "$dir/$mode.$stream")"
        done
        ((status[$mode] == status[plain])) || fail "$mode: status ${status[$mode]}"
    done
}

# can_relocate: whether there is anything to be expected on this kernel, in this container.
can_relocate() {
    local tier
    tier=$("$remapstat" probe --json | jq -r .tier) || fail "remapstat probe"
    if [[ $tier == none ]]; then
        echo "tier none: nothing can be relocated here, so only the outputs were compared"
        return 1
    fi
}

# looked_at: the program was counted while it waited.
looked_at() {
    [[ ${vmas[plain]} != - ]] || fail "the plain one never said that it was done"
}

# at_least MODE KEY N
at_least() {
    local found
    found=$(statistic "$1" "$2")
    ((found >= $3)) || fail "$1: $2 is $found, at least $3 expected"
}

# none MODE KEY
none() {
    local found
    found=$(statistic "$1" "$2")
    ((found == 0)) || fail "$1: $2 is $found, 0 expected"
}

# ratio_at_most MODE LIMIT: VMAs / runs.
ratio_at_most() {
    looked_at
    awk -v a="${vmas[$1]}" -v b="${runs[$1]}" -v most="$2" 'BEGIN { exit !(a <= b * most) }' ||
        fail "$1: ${vmas[$1]} VMAs, ${runs[$1]} runs: more than $2 each"
}

# falls_to_pieces: the plain one does, so that a small ratio under the shim tells something.
falls_to_pieces() {
    looked_at
    awk -v a="${vmas[plain]}" -v b="${runs[plain]}" 'BEGIN { exit !(a > b * 1.5) }' ||
        fail "plain: ${vmas[plain]} VMAs, ${runs[plain]} runs: this proves nothing"
}
