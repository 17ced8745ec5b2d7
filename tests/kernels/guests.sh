# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Guests: how they are booted, several at a time, and what is done when one ends. Sourced, not run.
#
# A guest has a directory of its own in $scratch: its console, its report, its swap and so on. Only
# one shell judges and prints, one guest after the other, so nothing that they say is mixed.

: "${scratch:?}" "${cache:?}" "${mode:?}" "${exit_status:?}" # the caller's
: "${arch:?}" "${qemu:?}" "${console:?}" "${port:?}" "${machine:?}" "${emulated:?}" # see choose_arch()
accel=() slow='' guests=0

# kvm_works IMAGE: opens the device, and lets the kernel begin to run.
kvm_works() {
    [[ ${kvm:?} == yes && $(uname -m) == "$arch" && -r /dev/kvm && -w /dev/kvm ]] || return 1
    # In a shell of its own: where qemu aborts, bash would tell.
    bash -c '"$@"; exit' kvm timeout --foreground -s KILL 20 "$qemu" -machine "$machine" \
        -accel kvm -cpu host -m 64M -display none -nodefaults -no-reboot \
        -kernel "$1" -append "panic=-1 console=$console" \
        -serial "file:$scratch/kvm" >/dev/null 2>&1
    grep -q 'Linux version' "$scratch/kvm" 2>/dev/null
}

# choose_accel IMAGE: once; IMAGE to try it with.
choose_accel() {
    [[ -z $slow ]] || return 0
    if kvm_works "$1"; then
        slow=1 accel=(-accel kvm -cpu host) tune=''
    else
        slow=4 accel=(-accel 'tcg,thread=multi' -cpu "$emulated") tune=${emulated_tune?}
    fi
    : "${limit:=$((slow == 1 ? 240 : 1200))}"
}

# guest debian|own NAME IMAGE MODULES: boots it as soon as there is room for one more.
guest() {
    local whose=$1 name=$2 image=$3 dir=$scratch/guest.$((++guests))
    while ((${#running[@]} >= ${jobs:?})); do
        guest_ended
    done
    choose_accel "$image"
    mkdir "$dir"
    echo "$name" >"$dir/name"
    initramfs_modules "$4" "$dir/modules.cpio" || exit 1
    cat "$scratch/base.cpio" "$dir/modules.cpio" >"$dir/initrd"
    rm "$dir/modules.cpio"
    [[ $mode != command ]] || cat "$scratch/command.cpio" >>"$dir/initrd"
    : >"$dir/console"
    : >"$dir/report"
    boot "$dir" "$image"
}

# boot DIR IMAGE: in the background, except for a shell.
boot() {
    local dir=$1 image=$2 append options report
    append="console=$console loglevel=7 panic=-1 $tune remap.mode=$mode remap.slow=$slow"
    append+=" remap.port=$port"
    options=(-machine "$machine" -nodefaults -display none -no-reboot -m "${mem:?}"
        -smp "${cpus:?}" -kernel "$image" -initrd "$dir/initrd" "${accel[@]}")
    if [[ ${swap:?} != 0 ]]; then
        truncate -s "$swap" "$dir/swap" || exit 1
        options+=(-drive "file=$dir/swap,format=raw,if=none,id=swap,cache=unsafe"
            -device 'virtio-blk-pci,drive=swap')
        append+=" remap.swap=yes remap.whose=$whose"
    fi
    if [[ $mode == shell ]]; then
        "$qemu" "${options[@]}" -serial mon:stdio -append "$append quiet"
        return
    fi
    report_port "$dir/report"
    date +%s >"$dir/began"
    # Should we be killed, they end with us.
    setpriv --pdeathsig TERM timeout -s KILL "$limit" "$qemu" "${options[@]}" \
        -serial "file:$dir/console" "${report[@]}" -append "$append" \
        >"$dir/qemu" 2>&1 </dev/null &
    running[$!]=$dir
}

# guest_ended: waits for one and says what became of it.
guest_ended() {
    local pid dir name status=0 file
    wait -n -p pid "${!running[@]}" 2>/dev/null || status=$?
    dir=${running[$pid]} name=$(cat "$dir/name")
    unset "running[$pid]"
    for file in console report; do
        sed -i 's/\r//g' "$dir/$file" # serial lines end so
        cp "$dir/$file" "$cache/logs/$name.$file"
    done
    if [[ $mode == test ]]; then
        judge "$dir" "$name" "$status"
    else
        grep -v '^@status' "$dir/report"
        warnings "$dir" >&2 && exit_status=1
        status=$(sed -n 's/^@status //p' "$dir/report")
        [[ $status == 0 ]] || exit_status=${status:-1}
    fi
    rm -rf "$dir"
}
