# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options shared by the modules that talk to a server."""

from __future__ import annotations

import yaml
from ansible_collections.multigpu.vllm.plugins.doc_fragments.vllm_server import ModuleDocFragment
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.options import SERVER_OPTIONS, server_options


def test_documentation_says_what_the_specification_does() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    stripped = {
        name: {key: value for key, value in option.items() if key != "description"}
        for name, option in documented.items()
    }
    specified = {
        name: {key: value for key, value in option.items() if key != "no_log"}
        for name, option in SERVER_OPTIONS.items()
    }
    assert stripped == specified


def test_the_key_is_kept_out_of_logs() -> None:
    assert SERVER_OPTIONS["api_key"]["no_log"] is True


def test_a_module_can_require_the_url_without_changing_the_shared_options() -> None:
    assert server_options(base_url_required=True)["base_url"] == {"type": "str", "required": True}
    assert server_options()["base_url"] == {"type": "str"}
