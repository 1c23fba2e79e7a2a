# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.doc_fragments.vllm_server import ModuleDocFragment
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.options import checked_base_url, server_options


def test_server_options_equal_their_documentation() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    stripped = {
        name: {key: value for key, value in option.items() if key != "description"}
        for name, option in documented.items()
    }
    specified = {
        name: {key: value for key, value in option.items() if key != "no_log"}
        for name, option in server_options().items()
    }
    assert stripped == specified


def test_server_options_api_key_is_no_log() -> None:
    assert server_options()["api_key"]["no_log"] is True


def test_server_options_base_url_is_required_on_request() -> None:
    assert server_options(base_url_required=True)["base_url"] == {"type": "str", "required": True}
    assert server_options()["base_url"] == {"type": "str"}


def test_checked_base_url_valid_values_give_the_url(tmp_path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    assert checked_base_url("http://h:8000/v1/", "sk-1 2", str(authority), 0.5) == "http://h:8000"
    assert checked_base_url(None) is None


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf")])
def test_checked_base_url_invalid_timeout_is_a_value_error(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be more than 0 seconds, got"):
        checked_base_url("http://h", timeout=timeout)


@pytest.mark.parametrize("key", ["hush\n", " hush", "hush\r\nX: 1", "hüsh"])
def test_checked_base_url_invalid_key_error_does_not_show_it(key: str) -> None:
    with pytest.raises(ValueError, match="api_key must be printable ASCII") as caught:
        checked_base_url("http://h", key)
    assert key.strip() not in str(caught.value)


def test_checked_base_url_missing_ca_file_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="ca_path must be a file on this host, got '/no/such.pem'"):
        checked_base_url("https://h", ca_path="/no/such.pem")
