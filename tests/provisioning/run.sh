#!/usr/bin/env bash
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs the provisioning suite: modules, inventory and playbooks against a simulated Linode API on loopback. `prism proxy`
# validates every request against Linode's API document. Without node and npm, the same tests run and the form of the
# requests is reported as not tested. MULTIGPU_NIGHTLY=1 adds the slow tests.
set -euo pipefail
cd "$(dirname "$0")/../.."
prism=.cache/prism
if command -v node >/dev/null && command -v npm >/dev/null; then
  if ! cmp -s tests/provisioning/package-lock.json "$prism/package-lock.json" || [ ! -x "$prism/node_modules/.bin/prism" ]; then
    mkdir -p "$prism"
    cp tests/provisioning/package.json tests/provisioning/package-lock.json "$prism/"
    npm ci --prefix "$prism" --ignore-scripts --no-audit --no-fund --loglevel error
  fi
else
  echo "not tested: the form of the requests, because node and npm are not installed"
fi
exec .venv/bin/pytest tests/provisioning -q -p no:cacheprovider -o timeout=900 "$@"
