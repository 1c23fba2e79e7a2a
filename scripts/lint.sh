#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs ansible-lint with the strictest profile (it includes yamllint), ruff, mypy --strict over plugins/, the lint of
# antsibull-docs over the documentation of all plugins and roles, and reuse: every file states its licence.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH

# mypy and antsibull-docs require a path that ends with the collection name.
readonly TREE=.cache/typing/ansible_collections/multigpu/vllm
mkdir -p "$(dirname "$TREE")"
ln -sfn "$PWD" "$TREE"

ruff check .
ruff format --check --quiet .
mypy
reuse lint --quiet || reuse lint

# Each page that antsibull-docs checks contains the random name of a temporary directory. If the name ends with "_", it is
# an unknown reference, so another name is tried. All other errors end the lint.
for attempt in 1 2 3; do
  if antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=dependent "$PWD/$TREE" \
    >.cache/antsibull-docs.log; then
    break
  elif ((attempt == 3)) || ! grep -q 'Unknown target name: "antsibull-docs-' .cache/antsibull-docs.log; then
    cat .cache/antsibull-docs.log
    exit 1
  fi
done

# ansible-lint starts ansible-playbook for the syntax check of each playbook and role, 40 times. Here, a stand-in collects
# the files, and one start checks all of them. The playbooks for roles are temporary, so it copies them.
readonly SYNTAX=$PWD/.cache/syntax
rm -rf "$SYNTAX"
mkdir -p "$SYNTAX/roles"
cat >"$SYNTAX/ansible-playbook" <<'SH'
#!/bin/sh
for file; do :; done
case $file in
"$TMPDIR"/*) cp "$file" "${0%/*}/roles" ;;
*) echo "$file" >>"${0%/*}/playbooks" ;;
esac
SH
chmod +x "$SYNTAX/ansible-playbook"
TMPDIR=$SYNTAX PATH=$SYNTAX:$PATH ansible-lint --offline --profile production "$@"
mapfile -t files < <(sort -u "$SYNTAX/playbooks")
ansible-playbook --syntax-check --inventory localhost, "${files[@]}" "$SYNTAX"/roles/* >"$SYNTAX/log" 2>&1 || {
    cat "$SYNTAX/log"
    exit 1
}
