#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs make targets, continues after failures, and prints a summary.
# Each argument is a stage; stages run one after another. In a stage, lanes separated by "+" run in parallel, and the
# targets of a lane, separated by ",", run one after another: scripts/test.sh sanity,lint+unit scenarios
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
export PATH=$PWD/.venv/bin:$PATH

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
# Background lanes do not receive Ctrl-C.
trap 'trap - INT TERM; kill 0' INT TERM

# The output of parallel targets is printed when they end, so that it does not mix. The cost of a target is its CPU
# time, because its wall time depends on the other targets.
run_target() {
    local target=$1 alone=$2 started=$SECONDS outcome=pass TIMEFORMAT='%U %S'
    if "$alone"; then
        printf '\n== %s\n' "$target"
        { time make --no-print-directory "$target" 2>&3 || outcome=FAIL; } 3>&2 2>"$results/$target.cpu"
    else
        { time make --no-print-directory "$target" >"$results/$target.log" 2>&1 || outcome=FAIL; } 2>"$results/$target.cpu"
        {
            flock 9
            printf '\n== %s\n' "$target"
            cat "$results/$target.log"
        } 9>"$results/lock"
    fi
    awk -v target="$target" -v outcome="$outcome" -v wall=$((SECONDS - started)) \
        '{ printf "  %-17s %s  %4d s  %4d CPU-s\n", target, outcome, wall, $1 + $2 }' "$results/$target.cpu" >>"$results/summary"
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
printf '  %-17s %s  %4d s\n' total "$([ "$failures" -eq 0 ] && echo pass || echo FAIL)" "$SECONDS"
exit "$((failures > 0))"
