# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The guest's file system, made on the spot. Sourced, not run.
#
# Products and tests lie in the guest where they lie on the host, so that the paths that meson put
# into commands, environment and run paths are right there too. What is being made lies in the
# caller's $scratch.

: "${build:?}" "${here:?}" "${top:?}" # the caller's: the build directory, and where guest-init is

# copy FILE...: into $root under the same path ($sysroot off), with the libraries that it needs.
copy() {
    local file target library
    for file; do
        target=$root${file#"${sysroot?}"}
        [[ ! -e $target ]] || continue
        mkdir -p "$(dirname "$target")"
        cp -L "$file" "$target" || return 1
        while read -r library; do
            copy "$library" || return 1
        done < <(needed "$file")
    done
}

# list_tests: the system tests that meson has and $only fits, one a line, tabs between: suite/case,
# its time limit, together or alone, its command with its environment.
list_tests() {
    python3 - "$build" "${only:-}" <<'PYTHON'
import json, re, shlex, sys
with open(sys.argv[1] + "/meson-info/intro-tests.json") as file:
    tests = json.load(file)
for test in tests:
    suite = test["suite"][0].split(":")[-1]
    # Nothing to do with the kernel; and a JVM does not fit into a guest.
    if suite in ("unit", "jvm", "programs", "sites") or test["name"] == "all_registered":
        continue
    if test["name"].startswith("kinds_"):  # they need jq
        continue
    if not re.search(sys.argv[2], suite + "/" + test["name"]):
        continue
    env = ["%s=%s" % pair for pair in test["env"].items()]
    print(suite + "/" + test["name"], int(test["timeout"]),
          "together" if test["is_parallel"] else "alone",
          shlex.join(["env", *env, *test["cmd"]]), sep="\t")
PYTHON
}

# pack DIR ARCHIVE: the kernel takes several archives one after the other as one.
pack() {
    chmod 755 "$1" # it becomes the guest's /, and mktemp(1) made it private
    (cd "$1" && find . | busybox cpio -o -H newc 2>/dev/null) >"$2"
}

# initramfs_base ARCHIVE: everything but what is one kernel's or one run's.
initramfs_base() {
    local archive=$1 root file helper busybox
    root=$(mktemp -d -p "${scratch:?}") || return 1
    mkdir -p "$root"/{bin,sbin,dev,proc,sys,etc,tmp,run,lib/modules,remap}
    chmod 1777 "$root/tmp"
    printf 'root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    busybox=$(program busybox)
    copy "$busybox" || return 1
    [[ -e $root/bin/busybox ]] || ln -s "$busybox" "$root/bin/busybox"
    cp "$here/guest-init" "$root/init"
    chmod 755 "$root/init"
    list_tests >"$root/remap/tests" || return 1
    # The command's tests are a bash script.
    copy "$(program bash)" "$build/libremap.so" "$build/remapstat" \
        "$build/examples/collector" || return 1
    [[ -e $root/bin/bash ]] || ln -s "$(program bash)" "$root/bin/bash"
    for file in "$build"/tests/system/*; do
        if [[ -f $file && -x $file ]]; then
            copy "$file" || return 1
        fi
    done
    # What else the commands name: scripts of the source directory. And what those share.
    copy "$top/tests/system/command.sh" || return 1
    while read -r file; do
        [[ ! -f $file ]] || copy "$file" || return 1
    done < <(cut -f 4 "$root/remap/tests" | tr ' ' '\n' | grep '^/' | sort -u)
    # The loader maps it for a while; without that gap VMAs merge that do not elsewhere.
    cp /etc/ld.so.cache "$root/etc/"
    # Libraries that are opened by name, not linked: threads end with the first one.
    for helper in "$sysroot"/lib/*-linux-gnu/libgcc_s.so.1 \
        "$sysroot"/lib/*-linux-gnu/libunwind-*.so.8; do
        [[ ! -e $helper ]] || copy "$helper"
    done
    cat >"$root/remap/paths" <<PATHS
library=$build/libremap.so
remapstat=$build/remapstat
collector=$build/examples/collector
helpers=$build/tests/system
PATHS
    pack "$root" "$archive"
    rm -rf "$root"
}

# initramfs_modules DIR ARCHIVE: the modules of one kernel, as unpack_modules() left them.
initramfs_modules() {
    local root
    root=$(mktemp -d -p "${scratch:?}") || return 1
    mkdir -p "$root/remap/modules"
    if compgen -G "$1/*.ko" >/dev/null; then
        cp "$1"/*.ko "$root/remap/modules/"
    fi
    pack "$root" "$2"
    rm -rf "$root"
}

# initramfs_command ARCHIVE COMMAND...: a command to run there. Words of it that are files
# here, with a slash in the name, come along, but not over a file of another architecture's root.
initramfs_command() {
    local archive=$1 root word words=()
    shift
    root=$(mktemp -d -p "${scratch:?}") || return 1
    mkdir -p "$root/remap"
    for word; do
        if [[ $word == */* && -f $word ]]; then
            word=$(realpath -s "$word")
            [[ -n $sysroot && -e $sysroot$word ]] || copy "$word" || return 1
        fi
        words+=("$(printf %q "$word")")
    done
    echo "${words[*]}" >"$root/remap/command"
    pack "$root" "$archive"
    rm -rf "$root"
}
