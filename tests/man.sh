#!/bin/bash
# SPDX-License-Identifier: MIT
# The option table, `remapstat env` and libremap(7) say the same: every variable, its default and
# what is allowed stand in the manual page, in the table's order, and no other variable does.
# And the manual pages have no mistakes that a formatter would warn of.
# usage: man.sh REMAPSTAT MANUAL...    the first: libremap(7)
set -euo pipefail
remapstat=$1 manual=$2
mandoc -Tlint -W warning "${@:2}"
rows=$("$remapstat" env --json | jq -r '.[] | [.variable, .default, .allowed] | join("\u001f")')
variables=$(cut -d$'\x1f' -f1 <<<"$rows")
documented=$(sed -n 's/^\.It Ev \(REMAP_[A-Z_]*\)$/\1/p' "$manual")
if [[ $variables != "$documented" ]]; then
    echo "variables differ (table left, manual right):"
    diff <(echo "$variables") <(echo "$documented") || true
    exit 1
fi
while IFS=$'\x1f' read -r variable default allowed; do
    section=$(sed -n "/^\\.It Ev $variable\$/,/^\\.It Ev\\|^\\.El/p" "$manual")
    for text in "$allowed" "$default"; do
        if ! grep -qF -- ".Dq \"$text\"" <<<"$section" && ! grep -qF -- ".Dq $text ," <<<"$section" &&
            ! grep -qF -- ".Dq $text ." <<<"$section"; then
            echo "$variable: the manual does not say '$text'"
            exit 1
        fi
    done
done <<<"$rows"
