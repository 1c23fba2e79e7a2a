# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options shared by the modules that talk to a server."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.doc_fragments.vllm_server import ModuleDocFragment
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.options import (
    SERVER_OPTIONS,
    checked_base_url,
    server_options,
)


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


def test_values_that_can_be_give_the_normalised_url(tmp_path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    assert checked_base_url("http://h:8000/v1/", "sk-1 2", str(authority), 0.5) == "http://h:8000"
    assert checked_base_url(None) is None


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_is_a_time(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout is .*; allowed: more than 0 seconds"):
        checked_base_url("http://h", timeout=timeout)


@pytest.mark.parametrize("key", ["hush\n", " hush", "hush\r\nX: 1", "hüsh"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_named(key: str) -> None:
    with pytest.raises(ValueError, match="api_key holds") as caught:
        checked_base_url("http://h", key)
    assert key.strip() not in str(caught.value)


def test_authorities_that_are_no_file() -> None:
    with pytest.raises(ValueError, match="ca_path '/no/such.pem' is not a file"):
        checked_base_url("https://h", ca_path="/no/such.pem")
