# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Debian's stock kernels, fetched by name and unpacked into a cache, and a root of its packages where
# the guests are of another architecture. Sourced, not run.
#
# Several may run at a time: one has the lock while it looks for a kernel.
#
# apt runs with a configuration of its own, derived from the machine's: the same mirrors, proxies
# and keys, but the suites that hold kernels, and its lists in the cache. The machine's apt is not
# touched.

: "${cache:?}" "${debian_arch:?}" # the caller's: where everything is kept, and for which machines

# Where Debian has stock kernels. A suite that a mirror lacks costs a line in the log, nothing else.
archive_suites='bookworm bookworm-backports trixie trixie-backports'
security_suites='bookworm-security trixie-security'
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# mirrors: the addresses of Debian that this machine's sources name, "archive URI" or "security URI"
# a line. The release files are not asked: a fresh machine has none yet.
mirrors() {
    # $(...) is for apt to expand
    # shellcheck disable=SC2016
    env -u APT_CONFIG apt-get indextargets --no-release-info \
        --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        awk '$3 != "main" { next }
             $2 ~ /^(bookworm|trixie|(old)*stable|testing)(-updates|-backports)?$/ {
                 print "archive", $1 }
             $2 ~ /^(bookworm|trixie|(old)*stable|testing)-security$/ { print "security", $1 }' |
        sort -u
}

# apt_setup: writes the private configuration; 1, and a reason on stdout, if there is no mirror.
apt_setup() {
    local apt=$cache/apt kind uri suites found=0
    command -v apt-get >/dev/null || {
        echo 'no apt-get on this machine'
        return 1
    }
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" || return 1
    while read -r kind uri; do
        suites=$archive_suites
        [[ $kind == archive ]] || suites=$security_suites
        printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: %s\n' \
            "$uri" "$suites" "$debian_arch"
        [[ ! -r $keyring ]] || echo "Signed-By: $keyring"
        echo
        found=1
    done < <(mirrors) >"$apt/new.sources"
    # Untouched if it is the same: see apt_update().
    cmp -s "$apt/new.sources" "$apt/kernels.sources" ||
        cp "$apt/new.sources" "$apt/kernels.sources"
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
APT::Architecture "$debian_arch";
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

# apt_said: why the last command failed
apt_said() {
    grep -m 1 -E '^[EW]: Failed to fetch' "$cache/apt/log" || grep -m 1 '^E' "$cache/apt/log" ||
        echo 'no package lists'
}

# apt_update: brings the lists up to date, once in twelve hours. A failure matters only where there
# are no lists at all: an old list still names kernels.
apt_update() {
    local stamp=$cache/apt/updated
    if [[ -n $(find "$stamp" -mmin -720 2>/dev/null) &&
        $stamp -nt $cache/apt/kernels.sources ]]; then
        return 0
    fi
    # A suite that the mirror lacks is an error to it, a mirror that does not answer a warning.
    private_apt apt-get update -q >"$cache/apt/log" 2>&1
    if compgen -G "$cache/apt/lists/*Packages*" >/dev/null; then
        touch "$stamp"
        return 0
    fi
    echo "apt-get update: $(apt_said)"
    return 1
}

# kernels_known: the full versions ("6.12.107+deb13") that the mirrors offer, oldest first.
kernels_known() {
    private_apt apt-cache pkgnames linux-image- 2>/dev/null |
        sed -nE "s/^linux-image-([0-9].*)-cloud-$debian_arch\$/\\1/p" | sort -Vu
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

# unpack_modules FROM TO: copies the few modules that a guest needs for a swap device, uncompressed.
unpack_modules() {
    local file
    [[ -d $1 ]] || return 0
    while read -r file; do
        case $file in
        *.xz) xz -dc "$file" >"$2/$(basename "$file" .xz)" ;;
        *.zst) zstd -qdc "$file" >"$2/$(basename "$file" .zst)" ;;
        *) cp "$file" "$2/" ;;
        esac
    done < <(find "$1/" -name 'virtio*.ko*' -type f)
}

# kernel_get FULL: fetches and unpacks one; the cache then holds kernels/FULL/vmlinuz, and modules
# beside it if the packages have them. Else 1, and a reason on stdout.
kernel_get() {
    local full=$1 dir=$cache/kernels/$1 tmp package packages=() file
    [[ ! -e $dir/vmlinuz ]] || return 0
    mkdir -p "$cache/kernels" && tmp=$(mktemp -d "$cache/kernels/.new.XXXXXX") || return 1
    # 7.x: the image package only depends on one with the image and one with the modules.
    for package in "linux-binary-$full-cloud-$debian_arch" \
        "linux-modules-$full-cloud-$debian_arch" "linux-image-$full-cloud-$debian_arch"; do
        if private_apt apt-cache show --no-all-versions "$package" >/dev/null 2>&1; then
            packages+=("$package")
        fi
    done
    if ! (cd "$tmp" && private_apt apt-get download -q "${packages[@]}") \
        >"$cache/apt/log" 2>&1; then
        echo "apt-get download: $(apt_said)"
        rm -rf "$tmp" "$cache/apt/updated" # the lists may be older than what the mirror has now
        return 1
    fi
    mkdir "$tmp/root" "$tmp/modules"
    for package in "$tmp"/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$tmp/root" --wildcards --no-anchored \
            'vmlinuz*' 'virtio*.ko*' 2>/dev/null
        rm "$package"
    done
    unpack_modules "$tmp/root" "$tmp/modules"
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

# kernel_known WANTED: the newest of that name that the mirrors have, into the cache; prints its
# version, or 1 and the reason.
kernel_known() {
    local full
    apt_setup && apt_update || return 1
    if ! full=$(kernels_known | newest "$1"); then
        echo "no suite has linux-image-$1*-cloud-$debian_arch"
        return 1
    fi
    kernel_get "$full" && echo "$full"
}

# kernel_find WANTED: makes sure that the cache holds the newest kernel of that name, and prints
# "ok FULL"; else "skip REASON". Runs in a shell of its own.
kernel_find() {
    local full why lock stamp=$cache/apt/updated old=no
    exec {lock}>"$cache/lock" && flock "$lock"
    trap 'rm -rf "${cache:?}"/kernels/.new.*' EXIT # its own shell's
    [[ ! -e $stamp ]] || old=yes
    # The second time with new lists, if the first showed that those here are too old.
    if full=$(kernel_known "$1") ||
        { [[ $old == yes && ! -e $stamp ]] && full=$(kernel_known "$1"); }; then
        echo "ok $full"
        return
    fi
    # Without a mirror, what was fetched before will do.
    if why=$full && full=$(kernels_cached | newest "$1"); then
        echo "ok $full"
    else
        echo "skip ${why:-not to be had}"
    fi
}

# sysroot_get: makes $sysroot: sysroot_packages(), with all that they depend on, of this machine's
# release. Made once; for newer packages, remove it from the cache. Else 1, and a reason on stdout.
sysroot_get() {
    local release wanted=() packages=() package tmp=$cache/sysroot.new
    release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    mapfile -t wanted < <(sysroot_packages)
    [[ $(cat "${sysroot:?}/.packages" 2>/dev/null) != "$release ${wanted[*]}" ]] || return 0
    [[ " $archive_suites " == *" $release "* ]] || {
        echo "this machine is of no release that is known here (VERSION_CODENAME=$release)"
        return 1
    }
    apt_setup && apt_update || return 1
    # Nothing is installed in that root; apt only says what would have to be.
    mapfile -t packages < <(private_apt apt-get -s install --no-install-recommends -t "$release" \
        "${wanted[@]}" 2>"$cache/apt/log" | sed -nE 's/^Inst ([^ ]+) \(([^ ]+) .*/\1=\2/p')
    rm -rf "$tmp"
    mkdir -p "$tmp/usr"/{bin,lib,sbin} && ln -s usr/{bin,lib,sbin} "$tmp" || return 1
    if ((${#packages[@]} == 0)) ||
        ! (cd "$tmp" && private_apt apt-get download -q "${packages[@]}") >>"$cache/apt/log" 2>&1; then
        echo "packages for $debian_arch: $(apt_said)"
        rm -f "$cache/apt/updated" # the lists may be older than what the mirror has now
        return 1
    fi
    for package in "$tmp"/*.deb; do
        dpkg-deb --fsys-tarfile "$package" |
            tar -x -C "$tmp" --keep-directory-symlink --no-same-owner || return 1
        rm "$package"
    done
    echo "$release ${wanted[*]}" >"$tmp/.packages"
    rm -rf "$sysroot" && mv "$tmp" "$sysroot"
}

# sysroot_find: prints "ok", or "skip REASON". Runs in a shell of its own.
sysroot_find() {
    local why lock stamp=$cache/apt/updated old=no
    exec {lock}>"$cache/lock" && flock "$lock"
    trap 'rm -rf "${cache:?}"/sysroot.new' EXIT # its own shell's
    [[ ! -e $stamp ]] || old=yes
    # Twice, as in kernel_find().
    if why=$(sysroot_get) || { [[ $old == yes && ! -e $stamp ]] && why=$(sysroot_get); }; then
        echo ok
    else
        echo "skip ${why:-no packages for $debian_arch}"
    fi
}
