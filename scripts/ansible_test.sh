#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs ansible-test on a copy of the tree, because it needs a real path that ends in ansible_collections/multigpu/vllm.
# Passes its arguments to ansible-test: scripts/ansible_test.sh sanity --test pylint plugins/modules/gpu_facts.py
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# scripts/matrix.sh sets VENV to an environment with another release of ansible-core.
VENV=${VENV:-$PWD/.venv}
export PATH=$VENV/bin:$PATH

readonly CACHE=$PWD/.cache/ansible-test/${VENV##*/}
# Each command has a separate copy, so that two can run at the same time.
readonly TREE=$CACHE/$1/ansible_collections/multigpu/vllm
python=$("$VENV/bin/python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
readonly python

# The sanity tests cover what users install. pytest and ruff check the Python files of the repository's own tests and
# benchmarks. Including them would quadruple the work of pylint and of the compilers of five Python versions.
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
    # A tracked file can be missing in the working tree.
    list_files "$1" |
        while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
        tar --create --null --files-from=- | tar --extract --directory "$TREE"
    # ansible-test lists the files with git. Without a separate repository, it would use the surrounding one.
    git -C "$TREE" init --quiet
    git -C "$TREE" add --all
}

# ansible-test keeps its environments under HOME and downloads pip from its own server. A home inside .cache leaves the
# user's home unchanged. A copy of the installed pip makes the download unnecessary, and is faster than ensurepip.
prepare_home() {
    local home=$1 requirements version site
    mkdir -p "$home/.ansible/test/cache" "$home/.config/pip"
    site=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    requirements=$site/ansible_test/_internal/python_requirements.py
    sed -n "s/.*pip='\([0-9.]*\)'.*/\1/p" "$requirements" | while IFS= read -r version; do
        cat >"$home/.ansible/test/cache/get_pip_${version//./_}.py" <<PYTHON
import pathlib, shutil, sysconfig

site = pathlib.Path("$site")
for path in [*site.glob("pip"), *site.glob("pip-[0-9]*.dist-info")]:
    shutil.copytree(path, pathlib.Path(sysconfig.get_path("purelib"), path.name))
PYTHON
    done
    # ansible-test also hides the environment from pip, so the user's index and certificates are written to a pip.conf.
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
    # Ruff checks the style of all Python files.
    if [ "$1" = sanity ]; then set -- "$@" --skip-test pep8; fi
    copy_tree "$1"
    prepare_home "$CACHE/home"
    export HOME=$CACHE/home
    cd "$TREE"
    ansible-test "$@" --python "$python" --color no
}

main "$@"
