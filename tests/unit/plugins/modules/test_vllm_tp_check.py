# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import options as server_options
from ansible_collections.multigpu.vllm.plugins.modules import vllm_tp_check
from ansible_collections.multigpu.vllm.tests.support import control_server as servers


def run(capsys: pytest.CaptureFixture[str], **options: t.Any) -> dict[str, t.Any]:
    with patch_module_args(options), pytest.raises(SystemExit):
        vllm_tp_check.main()
    return json.loads(capsys.readouterr().out)


def test_module_endpoint_result_holds_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    with servers.ControlServer(servers.healthy()) as server:
        result = run(capsys, base_url=server.url, api_key="sk-secret", expected_gpu_count=2)
    assert result["changed"] is False
    assert result["tensor_parallel_size"] == 2
    assert "sk-secret" not in json.dumps({key: value for key, value in result.items() if key != "invocation"})


def test_module_check_mode_requests_no_completion(capsys: pytest.CaptureFixture[str]) -> None:
    with servers.ControlServer(servers.healthy()) as server:
        run(capsys, base_url=server.url, _ansible_check_mode=True)
    assert "/v1/completions" not in server.paths


def test_module_dead_server_is_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, base_url="http://127.0.0.1:1", expected_gpu_count=4)
    assert "failed" not in result
    assert result["server"]["failure"] == "connection_refused"
    assert {finding["status"] for finding in result["findings"]} == {"not_tested"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "one of the following is required: base_url, container, log_path"),
        ({"log_path": "/does/not/exist.log"}, "/does/not/exist.log"),
        ({"base_url": "ftp://host"}, "ftp://host"),
    ],
)
def test_module_invalid_option_fails(capsys: pytest.CaptureFixture[str], options: dict[str, str], text: str) -> None:
    result = run(capsys, **options)
    assert result["failed"] is True and text in result["msg"]


def test_module_missing_requests_fails_with_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_options, "HAS_REQUESTS", False)
    assert "requests" in run(capsys, base_url="http://127.0.0.1:1")["msg"]


def test_module_result_has_the_documented_keys(capsys: pytest.CaptureFixture[str]) -> None:
    yaml = pytest.importorskip("yaml")
    documented = set(yaml.safe_load(vllm_tp_check.RETURN))
    result = run(capsys, base_url="http://127.0.0.1:1")
    assert set(result) - {"changed", "invocation"} == documented
    assert basic.AnsibleModule is vllm_tp_check.AnsibleModule
