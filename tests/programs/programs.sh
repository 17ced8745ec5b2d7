#!/bin/bash
# SPDX-License-Identifier: MIT
# programs.sh CASE REMAPSTAT LIBRARY HELPERS: a real program plain, shimmed, and shimmed with libc's
# realloc() seen too. Prints a table. HELPERS is the directory of grow. Exit status 0, 1, or 77
# (skipped). programs.sh --list: the cases.
set -u
here=$(dirname "$(readlink -f "$0")")
if [[ ${1-} == --list ]]; then
    sed -nE 's/^case_([a-z_]+)\(\) \{$/\1/p' "$0"
    exit
fi
case=$1 remapstat=$2 library=$3 helpers=$4
# shellcheck source=tests/programs/lib.sh
source "$here/lib.sh"

# ---- what grows by realloc() ----

case_grow() {
    compare "$helpers/grow"
    can_relocate || return 0
    at_least realloc relocated 1000
    falls_to_pieces
    ratio_at_most realloc 1.02
}

case_python_bytearrays() {
    need python3
    compare python3 "$here/bytearrays.py"
    can_relocate || return 0
    at_least realloc relocated 100
    falls_to_pieces
    ratio_at_most realloc 1.05
}

case_python_lists() {
    need python3
    compare python3 "$here/lists.py"
    can_relocate || return 0
    at_least realloc relocated 100
}

case_cpp_vectors() {
    need c++
    c++ -O2 -Wall -Wextra -Werror -o "$dir/vectors" "$here/vectors.cpp" ||
        fail "vectors.cpp does not compile"
    compare "$dir/vectors"
    can_relocate || return 0
    at_least realloc relocated 50
}

# Its own allocator never moves what it maps.
case_php() {
    need php
    compare php -n "$here/grow.php" 2500000
    none default moves
}

case_php_realloc() {
    need php
    export USE_ZEND_ALLOC=0
    compare php -n "$here/grow.php" 200000
    can_relocate || return 0
    at_least realloc relocated 50
}

# ---- what calls mremap() ----

case_luajit() {
    need luajit
    compare luajit "$here/held.lua" "$here/../../examples/big.lua"
    can_relocate || return 0
    at_least default relocated 100
    falls_to_pieces
    ratio_at_most default 1.05
}

case_python_mmap() {
    need python3
    compare python3 "$here/resize.py"
    can_relocate || return 0
    at_least default relocated 100
}

case_ruby_buffers() {
    need ruby
    ruby -W0 -e 'exit defined?(IO::Buffer) ? 0 : 1' || skip "this ruby has no IO::Buffer"
    compare ruby -W0 "$here/buffers.rb"
    can_relocate || return 0
    at_least default relocated 100
}

case_qemu_static() {
    need qemu-x86_64 cc
    [[ $(uname -m) == x86_64 ]] || skip "the guest is built for x86_64"
    echo 'int main(void) { return 0; }' | cc -static -x c -o "$dir/guest" - ||
        skip "no static libc"
    cc -O2 -Wall -Wextra -Werror -static -D_GNU_SOURCE -o "$dir/guest" "$here/guest.c" ||
        fail "guest.c does not compile"
    compare qemu-x86_64 "$dir/guest"
    can_relocate || return 0
    at_least default relocated 300
    falls_to_pieces
    ratio_at_most default 1.05
}

# Process ids and times differ from run to run.
stress_filter() {
    sed -E 's/\[[0-9]+\]/[PID]/; s/[0-9.]+s$/SECONDS/'
}

case_stress_ng() {
    need stress-ng
    local filter=stress_filter
    compare stress-ng --mremap 1 --mremap-bytes 8m --mremap-ops 150 --timeout 60 --verify
    grep -q 'successful run completed' "$dir"/plain.{out,err} || fail "nothing was verified"
    can_relocate || return 0
    at_least default relocated 100
}

# ---- where nothing may change ----

case_java() {
    need java
    if command -v javac >/dev/null && javac -d "$dir" "$here/Small.java"; then
        compare java -XX:+UseSerialGC -Xmx64m -cp "$dir" Small
        looked_at
    else
        compare java -version
    fi
}

same_file() {
    cmp "$dir/plain.file" "$dir/$1.file" || fail "$1: another file was written"
}

# A database mapped with mmap_size is a shared mapping of a file, which follows the file's growth.
sqlite_after() {
    mv "$dir/database" "$dir/$1.file"
    same_file "$1"
}

case_sqlite_mmap() {
    need sqlite3
    local input=$here/growing.sql after=sqlite_after mode
    compare sqlite3 "$dir/database"
    looked_at
    for mode in default realloc; do
        at_least $mode calls 2
        none $mode relocated
    done
}

# An object with so much to tell debuggers that compressing it changes where everything lies.
make_object() {
    local i
    for ((i = 1; i <= 300; i++)); do
        echo "struct s$i { int a; char b[$i]; };" \
            "int f$i(struct s$i *p); int f$i(struct s$i *p) { return p->a + p->b[0]; }"
    done >"$dir/object.c"
    cc -g3 -c -o "$dir/object.o" "$dir/object.c" || fail "the object does not compile"
}

link=(ld.gold --entry=f1 --compress-debug-sections=zlib)

gold_after() {
    mv "$dir/linked" "$dir/$1.file"
    same_file "$1"
}

# The linker maps its output and, when that grows, maps it anew.
case_gold() {
    need ld.gold cc
    local after=gold_after mode
    make_object
    compare "${link[@]}" -o "$dir/linked" "$dir/object.o"
    for mode in default realloc; do
        none $mode relocated
    done
}

pipe_before() {
    rm -f "$dir/pipe"
    mkfifo "$dir/pipe"
    cat "$dir/pipe" >"$dir/linked" &
    reader=$!
}

pipe_after() {
    wait "$reader"
    gold_after "$1"
}

# Into a pipe, which it cannot map, it writes from anonymous memory that it grows with mremap().
case_gold_pipe() {
    need ld.gold cc
    local before=pipe_before after=pipe_after mode reader
    make_object
    compare "${link[@]}" -o "$dir/pipe" "$dir/object.o"
    for mode in default realloc; do
        at_least $mode calls 1
    done
}

declare -F "case_$case" >/dev/null || fail "no such case"
"case_$case"
