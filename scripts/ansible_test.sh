#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ansible-test over a copy of the tree, because it insists on a real path that ends in ansible_collections/multigpu/vllm.
# Arguments go to ansible-test: scripts/ansible_test.sh sanity --test pylint plugins/modules/gpu_facts.py
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH

readonly CACHE=$PWD/.cache/ansible-test
# Each command has a copy of its own, so that two can run at the same time.
readonly TREE=$CACHE/$1/ansible_collections/multigpu/vllm
python=$(.venv/bin/python -c 'import sys; print("{}.{}".format(*sys.version_info))')
readonly python

# Sanity judges what users install. Python of the repository's own tests and benchmarks runs under pytest and ruff; for
# pylint and the compilers of five Python versions it would be three quarters of the work.
OWN_TESTS='^(tests/(accessibility|deployment|fixtures|provisioning|real_gpu|real_vllm|scenarios|support|unit)|benchmarks)/'
readonly OWN_TESTS

list_files() {
    if [ "$1" = sanity ]; then
        git ls-files -z --cached --others --exclude-standard | grep -zvE "$OWN_TESTS.*\.(py|log|json|txt|xml|gz|zip)$"
    else
        git ls-files -z --cached --others --exclude-standard
    fi
}

copy_tree() {
    rm -rf "$TREE"
    mkdir -p "$TREE"
    # A file can be tracked and already deleted, hence the test.
    list_files "$1" |
        while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
        tar --create --null --files-from=- | tar --extract --directory "$TREE"
    # ansible-test lists the files with git; without a repository of its own it would ask the one around it.
    git -C "$TREE" init --quiet
    git -C "$TREE" add --all
}

# ansible-test keeps its environments under HOME and fetches pip from a host of its own. A home inside .cache leaves
# the user's alone, and Python's own ensurepip spares the download.
prepare_home() {
    local home=$1 requirements version
    mkdir -p "$home/.ansible/test/cache" "$home/.config/pip"
    requirements=$(echo .venv/lib/python3.*/site-packages/ansible_test/_internal/python_requirements.py)
    sed -n "s/.*pip='\([0-9.]*\)'.*/\1/p" "$requirements" | while IFS= read -r version; do
        printf 'import ensurepip\n\nensurepip.bootstrap(upgrade=True)\n' >"$home/.ansible/test/cache/get_pip_${version//./_}.py"
    done
    # It hides the environment from pip too: the index and certificates that the user's pip knows are handed over.
    {
        echo '[global]'
        {
            echo "cache-dir = $(python -m pip cache dir)"
            echo 'quiet = 2'
            python -m pip config list | sed -nE "s/^[^.]+\.([a-z-]+)='(.*)'\$/\1 = \2/p" | sed 's/\\n/ /g'
        } | awk '!seen[$1]++'
    } >"$home/.config/pip/pip.conf"
}

main() {
    copy_tree "$1"
    prepare_home "$CACHE/home"
    export HOME=$CACHE/home
    cd "$TREE"
    ansible-test "$@" --python "$python" --color no
}

main "$@"
