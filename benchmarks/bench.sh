#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# benchmarks/bench.sh ours|peers [NAME...] runs the benchmarks of a group, or only the named ones, one after the other.
# It writes the figures to .cache/bench and the tables to docs/benchmarks.md. Set RUNS=1 for a quick run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly RUNS=${RUNS:-5}
# Fixed options of each benchmark, chosen so that `ours` takes at most 12 minutes and `peers` 20.
declare -A OPTIONS=(
    [fleet]='--hosts 10 50'
    [peers]='--minutes 16'
    [http]='--streams 256'
)
# Maximum number of runs of the slow benchmarks.
declare -A MAX_RUNS=([fleet]=3 [http]=3)

bench() {
    local name=$1 runs=$RUNS options
    [ "$runs" -gt "${MAX_RUNS[$name]:-$runs}" ] && runs=${MAX_RUNS[$name]}
    read -ra options <<<"${OPTIONS[$name]:-}"
    printf '\n%s\n' "$name"
    .venv/bin/python "benchmarks/bench_$name.py" --runs "$runs" --output ".cache/bench/$name.json" "${options[@]}"
}

case ${1:-} in
    ours) names=(probe second_truth gpu_facts scan fleet) ;;
    peers)
        benchmarks/peers.sh
        names=(peers http)
        ;;
    *)
        sed -n '5,6s/^# //p' "$0"
        exit 1
        ;;
esac
shift
[ $# -gt 0 ] && names=("$@")
failed=()
for name in "${names[@]}"; do bench "$name" || failed+=("$name"); done
.venv/bin/python benchmarks/tables.py
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
