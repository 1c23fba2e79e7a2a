# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args


@pytest.fixture
def run_linode(capsys, monkeypatch):
    """Run a Linode module with options and return its exit code and result. Nothing listens at the API's address."""
    for name in ("LINODE_API_TOKEN", "LINODE_TOKEN", "LINODE_API_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(module, options):
        with patch_module_args(options), pytest.raises(SystemExit) as ended:
            module.main()
        return ended.value.code, json.loads(capsys.readouterr().out)

    return run
