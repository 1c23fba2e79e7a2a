#!/usr/bin/env bash
# Runs the given make targets one after the other, all of them even when one fails, and sums up.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
export PATH=$PWD/.venv/bin:$PATH

summary=()
failures=0
for target in "$@"; do
    printf '\n== %s\n' "$target"
    started=$SECONDS
    if make --no-print-directory "$target"; then
        outcome=pass
    else
        outcome=FAIL
        failures=$((failures + 1))
    fi
    summary+=("$(printf '  %-12s %s  %4d s' "$target" "$outcome" $((SECONDS - started)))")
done

printf '\n== summary\n'
printf '%s\n' "${summary[@]}"
printf '  %-12s %s  %4d s\n' total "$([ "$failures" -eq 0 ] && echo pass || echo FAIL)" "$SECONDS"
exit "$((failures > 0))"
