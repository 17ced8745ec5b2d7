# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# All that depends on the architecture of the guests. Sourced, not run.
#
# x86-64 guests run what lies on this machine: its build, its libraries. For aarch64 there is a root
# of Debian's arm64 packages in the cache ($sysroot, see sysroot_find()), of the same release as this
# machine. The project is compiled against it, whole and without an option of its own, and the guest
# is made from it.

: "${top:?}" "${sysroot?}" # the caller's; SYSROOT: empty, or where a root of packages lies

# choose_arch x86_64|aarch64
# shellcheck disable=SC2034 # used by who sources this
choose_arch() {
    arch=$1
    case $arch in
    x86_64)
        debian_arch=amd64 label='' console=ttyS0 port=ttyS1 machine=pc
        emulated='max,la57=off'
        # The emulator translates code anew for each address that it runs at. Programs that always
        # lie at the same addresses make tests that start many of them twice as fast.
        emulated_tune=norandmaps
        default_build=build default_versions=(6.1 6.12 6.18/6.17 7)
        ;;
    aarch64)
        # The second serial port of "virt" is the secure world's, hence one on PCI.
        debian_arch=arm64 label=' aarch64' console=ttyAMA0 port=ttyS0 machine=virt
        emulated='max,pauth-impdef=on' # the architected algorithm is slow to emulate
        emulated_tune='' # norandmaps puts the stack at the end of user space; a test moves there
        default_build=build-aarch64 default_versions=(6.18/6.17)
        ;;
    esac
    qemu=qemu-system-$arch
}

# arch_tools: PROGRAM:PACKAGE for what that architecture needs; 1 if it cannot be at all.
arch_tools() {
    if [[ $arch == aarch64 ]]; then
        printf '%s\n' "$qemu:qemu-system-arm" aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu \
            aarch64-linux-gnu-readelf:binutils-aarch64-linux-gnu meson:meson ninja:ninja-build \
            pkg-config:pkg-config
    elif [[ $(uname -m) == "$arch" ]]; then
        printf '%s\n' "$qemu:qemu-system-x86" busybox:busybox-static ldd:libc-bin
    else
        echo "skipped: the guests run this machine's programs, and it is no $arch" >&2
        return 1
    fi
}

# report_port FILE: sets $report to the options of qemu for the serial port with the reports.
# shellcheck disable=SC2034
report_port() {
    case $arch in
    x86_64) report=(-serial "file:$1") ;;
    *) report=(-chardev "file,id=report,path=$1" -device 'pci-serial,chardev=report') ;;
    esac
}

# program NAME: where the guests' program of that name lies here.
program() {
    if [[ -n $sysroot ]]; then
        echo "$sysroot/bin/$1"
    else
        readlink -f "$(command -v "$1")"
    fi
}

# needed FILE: the libraries that it needs, one a line.
needed() {
    local name file
    if [[ -z $sysroot ]]; then
        ldd "$1" 2>/dev/null | grep -oE '(^|[[:space:]])/[^ ]+' | tr -d '[:blank:]'
        return
    fi
    # ldd(1) would have to run it. What is not there is the build's own, which is copied anyway.
    LC_ALL=C aarch64-linux-gnu-readelf -ld "$1" 2>/dev/null |
        sed -nE 's/.*\(NEEDED\).*\[(.*)\]$/\1/p; s|.*program interpreter: .*/(.*)\]$|\1|p' |
        while read -r name; do
            for file in "$sysroot/lib/$name" "$sysroot/lib/$arch-linux-gnu/$name"; do
                [[ ! -e $file ]] || echo "$file"
            done
        done
}

# sysroot_packages: what is in a guest beside the project, and what that is compiled with.
sysroot_packages() {
    # shellcheck source=../../scripts/packages.sh source-path=SCRIPTDIR
    (source "$top/scripts/packages.sh" && printf '%s\n' "${packages[@]}") | grep '^lib.*-dev$'
    printf '%s\n' libc6-dev bash busybox-static
}

# cross_file: for meson. No JDK: a JVM does not fit into a guest.
cross_file() {
    cat <<FILE
# $(<"$sysroot/.packages")
[binaries]
c = ['$arch-linux-gnu-gcc', '--sysroot=$sysroot']
ar = '$arch-linux-gnu-ar'
strip = '$arch-linux-gnu-strip'
pkgconfig = 'pkg-config'
javac = 'no-jdk-in-the-guest'

[properties]
sys_root = '$sysroot'
pkg_config_libdir = ['$sysroot/usr/lib/$arch-linux-gnu/pkgconfig', '$sysroot/usr/share/pkgconfig']

[host_machine]
system = 'linux'
cpu_family = '$arch'
cpu = '$arch'
endian = 'little'
FILE
}

# cross_build: compiles into $build; prints what there is to say if it fails. Runs in a shell of its
# own. What another compiler or another place of the cache made is thrown away; meson cannot change
# the cross file of a build.
cross_build() {
    local lock file=${build:?}/cross-file
    mkdir -p "$build" && exec {lock}>"$build/lock" && flock "$lock"
    if ! cross_file | cmp -s - "$file"; then
        if [[ -e $file ]]; then
            find "$build" -mindepth 1 ! -path "$build/lock" -delete
        elif [[ -e $build/build.ninja ]]; then
            echo "what is in $build was not built for $arch by this script"
            return 1
        fi
        cross_file >"$file"
    fi
    {
        [[ -e $build/build.ninja ]] || meson setup "$build" "$top" --cross-file "$file"
    } >"${scratch:?}/build" 2>&1 && meson compile -C "$build" >>"$scratch/build" 2>&1 && return
    tail -n 30 "$scratch/build"
    return 1
}
