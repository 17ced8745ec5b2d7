# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Debian's stock kernels, fetched by name and unpacked into a cache. Sourced, not run.
#
# apt runs with a configuration of its own, derived from the machine's: the same mirrors, proxies
# and keys, but the suites that hold kernels, and its lists in the cache. The machine's apt is not
# touched.

: "${cache:?}" # the caller's: where everything is kept

# Where Debian has stock kernels. A suite that a mirror lacks costs a line in the log, nothing else.
archive_suites='bookworm bookworm-backports trixie trixie-backports'
security_suites='bookworm-security trixie-security'
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# mirrors: the addresses of Debian that this machine's sources name, one a line.
mirrors() {
    # $(...) is for apt to expand
    # shellcheck disable=SC2016
    env -u APT_CONFIG apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 2>/dev/null |
        awk '$3 == "main" && $2 ~ /^(bookworm|trixie|(old)*stable|sid|testing)/ { print $1 }' |
        sort -u
}

# apt_setup: writes the private configuration; 1, and a reason on stdout, if there is no mirror.
apt_setup() {
    local apt=$cache/apt uri suites found=0
    command -v apt-get >/dev/null || {
        echo 'no apt-get on this machine'
        return 1
    }
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" || return 1
    while read -r uri; do
        suites=$archive_suites
        [[ $uri != *security* ]] || suites=$security_suites
        printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: amd64\n' \
            "$uri" "$suites"
        [[ ! -r $keyring ]] || echo "Signed-By: $keyring"
        echo
        found=1
    done < <(mirrors) >"$apt/kernels.sources"
    ((found)) || {
        echo "the machine's apt sources name no Debian mirror"
        return 1
    }
    {
        env -u APT_CONFIG apt-config dump Acquire
        cat <<CONF
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "$apt/kernels.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::State "$apt";
Dir::State::Lists "$apt/lists";
Dir::State::Status "/dev/null";
Dir::Cache "$apt";
Dir::Cache::Archives "$apt/archives";
APT::Architecture "amd64";
APT::Sandbox::User "root";
Acquire::Languages "none";
CONF
    } >"$apt/conf"
}

private_apt() {
    local command=$1
    shift
    APT_CONFIG=$cache/apt/conf "$command" "$@"
}

# apt_update: brings the lists up to date, once in twelve hours. A failure matters only where there
# are no lists at all: an old list still names kernels.
apt_update() {
    local stamp=$cache/apt/updated
    if [[ -n $(find "$stamp" -mmin -720 2>/dev/null) &&
        ! $cache/apt/kernels.sources -nt $cache/apt/conf ]]; then
        return 0
    fi
    # It calls a mirror that does not answer a warning, and succeeds.
    if private_apt apt-get update -q >"$cache/apt/log" 2>&1 &&
        ! grep -q '^W: Failed' "$cache/apt/log"; then
        touch "$stamp"
    fi
    compgen -G "$cache/apt/lists/*Packages*" >/dev/null && return 0
    echo "apt-get update: $(grep -m 1 -E '^(E|W|Err)' "$cache/apt/log" || echo 'no package lists')"
    return 1
}

# kernels_known: the full versions ("6.12.107+deb13") that the mirrors offer, oldest first.
kernels_known() {
    private_apt apt-cache pkgnames linux-image- 2>/dev/null |
        sed -nE 's/^linux-image-([0-9].*)-cloud-amd64$/\1/p' | sort -Vu
}

# kernels_cached: those that are unpacked here already.
kernels_cached() {
    local dir
    for dir in "$cache"/kernels/*/; do
        [[ ! -e $dir/vmlinuz ]] || basename "$dir"
    done | sort -V
}

# newest WANTED: of the full versions on stdin the newest that is WANTED or begins with it. "7" is
# any 7.x, "6.1" is not 6.12; "6.18/6.17" is 6.17 where there is no 6.18.
newest() {
    local wanted known
    known=$(cat)
    for wanted in ${1//\// }; do
        wanted=${wanted//./\\.}
        wanted=${wanted//+/\\+}
        grep -E "^$wanted([.+-]|\$)" <<<"$known" | tail -n 1 | grep . && return 0
    done
    return 1
}

# kernel_get FULL: fetches and unpacks one; the cache then holds kernels/FULL/vmlinuz and, if the
# packages have them, the few modules that a guest needs for a swap device, uncompressed.
kernel_get() {
    local full=$1 dir=$cache/kernels/$1 tmp package packages=() file
    [[ ! -e $dir/vmlinuz ]] || return 0
    mkdir -p "$cache/kernels" && tmp=$(mktemp -d "$cache/kernels/.new.XXXXXX") || return 1
    # 7.x: the image package only depends on one with the image and one with the modules.
    for package in "linux-binary-$full-cloud-amd64" "linux-modules-$full-cloud-amd64" \
        "linux-image-$full-cloud-amd64"; do
        if private_apt apt-cache show --no-all-versions "$package" >/dev/null 2>&1; then
            packages+=("$package")
        fi
    done
    if ! (cd "$tmp" && private_apt apt-get download -q "${packages[@]}") \
        >"$cache/apt/log" 2>&1; then
        echo "apt-get download: $(grep -m 1 '^E' "$cache/apt/log" || tail -n 1 "$cache/apt/log")"
        rm -rf "$tmp"
        return 1
    fi
    mkdir "$tmp/root" "$tmp/modules"
    for package in "$tmp"/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$tmp/root" --wildcards --no-anchored \
            'vmlinuz*' 'kernel/drivers/virtio' 'virtio_blk.ko*' 2>/dev/null
        rm "$package"
    done
    while read -r file; do
        case $file in
        *.xz) xz -dc "$file" >"$tmp/modules/$(basename "$file" .xz)" ;;
        *.zst) zstd -qdc "$file" >"$tmp/modules/$(basename "$file" .zst)" ;;
        *) cp "$file" "$tmp/modules/" ;;
        esac
    done < <(find "$tmp/root" -name '*.ko*' -type f)
    file=$(find "$tmp/root" -name 'vmlinuz*' -type f | head -n 1)
    if [[ -z $file ]]; then
        echo "no kernel image in ${packages[*]}"
        rm -rf "$tmp"
        return 1
    fi
    mv "$file" "$tmp/vmlinuz"
    rm -rf "$tmp/root" "$dir"
    mv "$tmp" "$dir"
}

# kernel_find WANTED: makes sure that the cache holds the newest kernel of that name, and prints
# "ok FULL"; else "skip REASON".
kernel_find() {
    local wanted=$1 full why
    if why=$(apt_setup) && why=$(apt_update); then
        if full=$(kernels_known | newest "$wanted"); then
            if why=$(kernel_get "$full"); then
                echo "ok $full"
                return
            fi
        else
            why="no suite has linux-image-$wanted*-cloud-amd64"
        fi
    fi
    # Without a mirror, what was fetched before will do.
    if full=$(kernels_cached | newest "$wanted"); then
        echo "ok $full"
    else
        echo "skip ${why:-not to be had}"
    fi
}
