#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs checks with another release of ansible-core or Python, in an environment in .cache/matrix. ARGS is passed to
# pytest or ansible-test.
#   scripts/matrix.sh core 2.21 [3.13]     quick_check on a simulated node, unit tests of action and callback plugins
#   scripts/matrix.sh unit 2.21 [3.13]     all unit tests
#   scripts/matrix.sh sanity 2.21 [3.13]   ansible-test sanity
#   scripts/matrix.sh node 3.10            unit tests of the code that runs on nodes
#   scripts/matrix.sh find 2.21 [3.13]     nothing; fails if this Python is not installed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Release of ansible-core -> oldest Python that it supports on the controller
declare -rA OLDEST=([2.19]=3.11 [2.20]=3.12 [2.21]=3.12)
# Release of ansible-core for the tests of the code that runs on nodes
readonly NODE_CORE=2.21

die() {
    printf 'matrix: %s\n' "$*" >&2
    exit 1
}

# pyenv's shims on PATH fail for versions that are not selected.
find_python() {
    local candidate
    while IFS= read -r candidate; do
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done < <(type -ap "python$1"; compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1.*/bin/python")
    die "no Python $1 with venv found on PATH or in pyenv."
}

make_environment() {
    local venv=$1 python=$2 mode=$3 core=$4 site state
    local pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
    state=$(sha256sum requirements.txt requirements-unit.txt constraints.txt "${BASH_SOURCE[0]}")
    [ "$(cat "$venv/.state" 2>/dev/null)" != "$state" ] || return 0
    "$python" -m venv --clear "$venv"
    if [ "$mode" = node ]; then
        # Python 3.10 needs older test tools than those in constraints.txt. ansible.module_utils supports it; the rest
        # of ansible-core does not.
        "${pip[@]}" --requirement requirements.txt hypothesis jsonschema pytest pytest-timeout pytest-xdist pyyaml
        "${pip[@]}" --no-deps --ignore-requires-python "ansible-core==$core.*"
    else
        "${pip[@]}" --requirement requirements-unit.txt "ansible-core==$core.*" \
            --constraint <(grep -v '^ansible-core==' constraints.txt)
    fi
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    mkdir -p "$site/ansible_collections/multigpu"
    ln -sfn "$PWD" "$site/ansible_collections/multigpu/vllm"
    # scripts/setup.sh installed the collections that the roles and playbooks use.
    ln -sfn "$PWD"/.venv/lib/python3*/site-packages/ansible_collections/{awx,community} "$site/ansible_collections"
    echo "$state" >"$venv/.state"
}

main() {
    local mode=$1 arguments core python venv
    if [ "$mode" = node ]; then
        core=$NODE_CORE
        python=$2
    else
        core=$2
        python=${3:-${OLDEST[$core]:-}}
        [ -n "$python" ] || die "the release of ansible-core must be one of ${!OLDEST[*]}, got $core."
    fi
    venv=$PWD/.cache/matrix/$core-$python
    python=$(find_python "$python")
    [ "$mode" != find ] || return 0
    mkdir -p "$(dirname "$venv")"
    make_environment "$venv" "$python" "$mode" "$core"
    export PATH=$venv/bin:$PATH
    read -ra arguments <<<"${ARGS:-}"
    local pytest=(python -m pytest -q -n 2 "${arguments[@]}")
    case $mode in
    core)
        scripts/quick_check.sh
        "${pytest[@]}" tests/unit/plugins/action tests/unit/plugins/callback
        ;;
    unit) "${pytest[@]}" tests/unit ;;
    node) "${pytest[@]}" tests/unit/plugins/module_utils tests/unit/plugins/modules ;;
    sanity) VENV=$venv scripts/ansible_test.sh sanity "${arguments[@]}" ;;
    *) die "the first argument must be core, unit, sanity, node or find, got $mode." ;;
    esac
}

main "$@"
