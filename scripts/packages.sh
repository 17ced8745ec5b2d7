# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The one list of Debian packages that building, testing and the demo need. Sourced, not run.
# shellcheck disable=SC2034 # some are used by who sources it

packages=(
    build-essential meson ninja-build pkg-config
    libsmartcols-dev libjansson-dev libseccomp-dev libunwind-dev libdw-dev libcmocka-dev
    luajit jq mandoc openjdk-17-jdk-headless
    # The programs of tests/programs; ld.gold comes with binutils.
    python3 ruby php-cli qemu-user stress-ng sqlite3 binutils
)
# What tests/kernels/run needs beside them, to fetch kernels, and to boot them.
kernel_packages=(
    qemu-system-x86 xz-utils python3 bsdextrautils util-linux debian-archive-keyring
)
# For its guests of another architecture (--arch aarch64).
aarch64_packages=(
    qemu-system-arm gcc-aarch64-linux-gnu libc6-dev-arm64-cross binutils-aarch64-linux-gnu
)
# Either will do, and they exclude each other.
command -v busybox >/dev/null || kernel_packages+=(busybox-static)

# install_packages: installs what is missing of "${packages[@]}", with sudo where we are not root.
# Touches neither apt nor the network when everything is there.
install_packages() {
    local missing=() package sudo=()
    for package in "${packages[@]}"; do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q ' installed$' ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    echo "installing: ${missing[*]}" >&2
    if ((EUID != 0)); then
        command -v sudo >/dev/null || {
            echo "neither root nor sudo here: please install: ${missing[*]}" >&2
            return 1
        }
        sudo=(sudo)
    fi
    "${sudo[@]}" apt-get update -q >&2
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
}
