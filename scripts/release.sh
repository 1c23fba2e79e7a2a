#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Writes the files of a release to dist: the artifact for Ansible Galaxy, its changelog, an SBOM and checksums.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TOOLS=.cache/release
# Limit of the artifact in bytes. Without the tests it has 0.9 MB.
readonly LIMIT=2000000

die() {
    printf 'release: %s\n' "$*" >&2
    exit 1
}

version=$(sed -n 's/^version: //p' galaxy.yml)
readonly version
[ -z "$(git status --porcelain)" ] || die "the working tree has uncommitted changes."
grep -qE "^  ['\"]?${version//./\\.}['\"]?:$" changelogs/changelog.yaml ||
    die "changelogs/changelog.yaml has no entry for $version. Run make changelog VERSION=$version and commit it."

export PATH=$PWD/.venv/bin:$PATH
python -m venv "$TOOLS"
"$TOOLS/bin/python" -m pip install --quiet --disable-pip-version-check --requirement requirements-release.txt
# ansible-lint, which galaxy-importer runs, resolves the modules that the roles use.
site=$("$TOOLS/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p "$site/ansible_collections"
ln -sfn "$PWD"/.venv/lib/python3*/site-packages/ansible_collections/{awx,community} "$site/ansible_collections"
rm -rf dist
mkdir dist

ansible-galaxy collection build --output-path dist
readonly artifact=multigpu-vllm-$version.tar.gz
[ "$(stat --format %s "dist/$artifact")" -lt "$LIMIT" ] || die "$artifact is larger than $LIMIT bytes."
# Galaxy imports the artifact with the same program. Its exit status is 0 even after errors.
(cd "$TOOLS" && unset ANSIBLE_CONFIG && PATH=$PWD/bin:$PATH python -m galaxy_importer.main "../../dist/$artifact") \
    >"$TOOLS/importer.log" 2>&1 || die "galaxy-importer failed; see $TOOLS/importer.log."
if grep -E '^(ERROR|WARNING)' "$TOOLS/importer.log"; then die "galaxy-importer refuses $artifact."; fi
cp CHANGELOG.md dist/

printf '[project]\nname = "multigpu.vllm"\nversion = "%s"\n' "$version" >"$TOOLS/pyproject.toml"
# requirements.txt has ranges. The SBOM lists the versions that the checks used, with what these depend on.
python -m pip install --quiet --disable-pip-version-check --dry-run --ignore-installed --report - \
    --requirement requirements.txt --constraint constraints.txt |
    python -c 'import json, sys; [print("{name}=={version}".format(**item["metadata"])) for item in json.load(sys.stdin)["install"]]' |
    sort |
    "$TOOLS/bin/cyclonedx-py" requirements --pyproject "$TOOLS/pyproject.toml" --mc-type library --output-reproducible \
        --output-file "dist/multigpu-vllm-$version.cdx.json" -

cd dist
sha256sum -- * >SHA256SUMS
cat SHA256SUMS
