#!/usr/bin/env bash
# benchmarks/bench.sh ours|peers [NAME...] runs all benchmarks of a group or those that are named, one after the other,
# leaves the figures in .cache/bench and puts them into docs/benchmarks.md. RUNS=1 for a quick look.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly RUNS=${RUNS:-5}
# Steady options of each; chosen so that `ours` takes at most 12 minutes, `peers` 20.
declare -A OPTIONS=(
    [scan]='--mixes mixed dense'
    [fleet]='--hosts 10 50'
    [peers]='--minutes 16'
    [http]='--streams 256'
)
# Runs of those that take long, at most.
declare -A MOST=([fleet]=3 [http]=3)

bench() {
    local name=$1 runs=$RUNS options
    [ "$runs" -gt "${MOST[$name]:-$runs}" ] && runs=${MOST[$name]}
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
        sed -n '2,3s/^# //p' "$0"
        exit 1
        ;;
esac
shift
[ $# -gt 0 ] && names=("$@")
failed=()
for name in "${names[@]}"; do bench "$name" || failed+=("$name"); done
.venv/bin/python benchmarks/tables.py
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
