#!/usr/bin/env bash
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

copy_tree() {
    rm -rf "$TREE"
    mkdir -p "$TREE"
    # A file can be tracked and already deleted, hence the test.
    git ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
        tar --create --null --files-from=- | tar --extract --directory "$TREE"
    # ansible-test lists the files with git; without a repository of its own it would ask the one around it.
    git -C "$TREE" init --quiet
    git -C "$TREE" add --all
}

# ansible-test keeps its environments under HOME and fetches pip from a host of its own. A home inside .cache leaves
# the user's alone, and Python's own ensurepip spares the download.
prepare_home() {
    local home=$1 requirements version settings
    mkdir -p "$home/.ansible/test/cache" "$home/.config"
    for settings in .pip .config/pip .gitconfig; do
        if [ -e "$HOME/$settings" ]; then ln -sfn "$HOME/$settings" "$home/$settings"; fi
    done
    requirements=$(echo .venv/lib/python3.*/site-packages/ansible_test/_internal/python_requirements.py)
    sed -n "s/.*pip='\([0-9.]*\)'.*/\1/p" "$requirements" | while IFS= read -r version; do
        printf 'import ensurepip\n\nensurepip.bootstrap(upgrade=True)\n' >"$home/.ansible/test/cache/get_pip_${version//./_}.py"
    done
}

main() {
    copy_tree
    prepare_home "$CACHE/home"
    export PIP_CACHE_DIR=${PIP_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/pip}
    export PIP_QUIET=2
    export HOME=$CACHE/home
    cd "$TREE"
    ansible-test "$@" --python "$python" --color no
}

main "$@"
