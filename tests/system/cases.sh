#!/bin/bash
# SPDX-License-Identifier: MIT
# cases.sh PROGRAM CASE...: every case that the program knows is registered with meson, and no other.
set -eu
program=$1
shift
diff <(printf '%s\n' "$@" | sort) <("$program" --list | sort)
