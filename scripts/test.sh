#!/usr/bin/env bash
# Runs make targets, all of them even when one fails, and sums up.
# Each argument is a stage; stages follow each other. In a stage lanes, separated by "+", run side by side, and the
# targets of a lane, separated by ",", one after the other: scripts/test.sh sanity,lint+unit scenarios
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
export PATH=$PWD/.venv/bin:$PATH

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
# Lanes in the background do not hear Ctrl-C by themselves.
trap 'trap - INT TERM; kill 0' INT TERM

# Output of a target beside others is held back until it ends, so that no two mix.
run_target() {
    local target=$1 alone=$2 started=$SECONDS outcome=pass
    if "$alone"; then
        printf '\n== %s\n' "$target"
        make --no-print-directory "$target" || outcome=FAIL
    else
        make --no-print-directory "$target" >"$results/$target.log" 2>&1 || outcome=FAIL
        {
            flock 9
            printf '\n== %s\n' "$target"
            cat "$results/$target.log"
        } 9>"$results/lock"
    fi
    printf '  %-13s %s  %4d s\n' "$target" "$outcome" $((SECONDS - started)) >>"$results/summary"
}

run_lane() {
    local target targets
    IFS=, read -ra targets <<<"$1"
    for target in "${targets[@]}"; do run_target "$target" "$2"; done
}

for stage in "$@"; do
    IFS=+ read -ra lanes <<<"$stage"
    if [ "${#lanes[@]}" -eq 1 ]; then
        run_lane "$stage" true
    else
        for lane in "${lanes[@]}"; do run_lane "$lane" false & done
        wait
    fi
done

printf '\n== summary\n'
cat "$results/summary"
failures=$(grep -c ' FAIL ' "$results/summary")
printf '  %-13s %s  %4d s\n' total "$([ "$failures" -eq 0 ] && echo pass || echo FAIL)" "$SECONDS"
exit "$((failures > 0))"
