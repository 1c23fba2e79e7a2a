# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import options as server_options
from ansible_collections.multigpu.vllm.plugins.modules import gpu_monitor
from ansible_collections.multigpu.vllm.plugins.modules import throughput_probe as subject
from ansible_collections.multigpu.vllm.tests.support.scripted_server import ScriptedServer, good_stream

STEP = {"prompt_tokens": 16, "output_tokens": 5, "concurrency": 2, "requests": 4}


@pytest.fixture
def play(capsys):
    """Run the module with these options and return its exit code and result."""

    def run(**options):
        with patch_module_args(options), pytest.raises(SystemExit) as ended:
            subject.main()
        return ended.value.code, json.loads(capsys.readouterr().out)

    return run


def documented(text: str) -> dict:
    return yaml.safe_load(text)


def test_module_runs_a_load(play):
    with ScriptedServer(lambda body, _number: [good_stream(body["max_tokens"])]) as server:
        code, result = play(base_url=server.url, steps=[STEP], sample_gpus=False, timeout=5)
    assert (code, result["changed"]) == (0, False)
    assert result["results"][0]["requests"]["completed"] == 4


def test_module_result_is_documented(play):
    with ScriptedServer(lambda body, _number: [good_stream(body["max_tokens"])]) as server:
        _code, result = play(base_url=server.url, steps=[STEP], sample_gpus=False, timeout=5)
    returned = documented(subject.RETURN)
    assert set(returned) - {"msg"} == set(result) - {"changed", "invocation"}
    assert set(returned["results"]["contains"]) - {"load_hosts"} == set(result["results"][0])
    assert set(returned["server"]["contains"]) == set(result["server"])


def test_module_mergeable_result_is_documented(play):
    with ScriptedServer(lambda body, _number: [good_stream(body["max_tokens"])]) as server:
        options = {"base_url": server.url, "steps": [STEP], "sample_gpus": False, "timeout": 5}
        _code, result = play(mergeable=True, **options)
    mergeable = result["results"][0]["mergeable"]
    contained = documented(subject.RETURN)["results"]["contains"]["mergeable"]["contains"]
    assert set(contained) == set(mergeable)
    (outcome,) = mergeable["outcomes"]
    for figure in ("ttft", "ttft_sent", "itl", "tpot", "e2e", "schedule_lag"):
        assert set(outcome[figure]) == {"bins", "count", "total"}
    assert outcome["ttft"]["count"] == 4


def test_module_in_check_mode_makes_no_load(play):
    code, result = play(base_url="http://127.0.0.1:9", _ansible_check_mode=True)
    assert (code, result["changed"]) == (0, False)
    assert {finding["status"] for finding in result["findings"]} == {"not_tested"}


def test_module_with_server_down_succeeds_with_a_failed_finding(play):
    code, result = play(base_url="http://127.0.0.1:9", sample_gpus=False)
    assert code == 0
    assert result["findings"][0]["status"] == "fail"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": [STEP | {"output_tokens": 0}]}, "output_tokens must be 1 or more, got 0"),
        ({"steps": [STEP | {"duration": 5}]}, "both are set"),
        ({"steps": [{"prompt_tokens": 5}]}, "concurrency"),
        ({"steps": [STEP | {"prompt_tokens": "many"}]}, "many"),
        ({"endpoint": "responses"}, "completions"),
        ({"base_url": "ftp://x"}, "ftp://x"),
    ],
)
def test_module_invalid_option_fails(play, options, message):
    code, result = play(**{"base_url": "http://127.0.0.1:9"} | options)
    assert code == 1
    assert message in result["msg"]


def test_module_without_requests_library_fails(play, monkeypatch):
    monkeypatch.setattr(server_options, "HAS_REQUESTS", False)
    code, result = play(base_url="http://127.0.0.1:9")
    assert code == 1
    assert "requests" in result["msg"]


def test_module_options_are_documented():
    options = documented(subject.DOCUMENTATION)["options"]
    shared = {"api_key", "ca_path", "validate_certs"}
    assert set(options) | shared == set(subject.ARGUMENT_SPEC)
    assert set(options["steps"]["suboptions"]) == set(subject.STEP_OPTIONS)
    for documented_step, step in zip(options["steps"]["default"], subject.DEFAULT_STEPS, strict=True):
        assert documented_step.items() <= step.items()


def test_module_removes_the_progress_file(play, tmp_path):
    with ScriptedServer(lambda body, _number: [good_stream(body["max_tokens"])]) as server:
        options = {"base_url": server.url, "steps": [STEP], "sample_gpus": False, "timeout": 5}
        code, _result = play(progress_path=str(tmp_path / "progress.json"), **options)
    assert code == 0
    assert not list(tmp_path.iterdir())


def test_module_invalid_progress_path_fails(play):
    code, result = play(base_url="http://127.0.0.1:9", progress_path="/nonexistent/progress.json")
    assert code == 1
    assert "/nonexistent/progress.json" in result["msg"]


def shape(values: dict) -> dict:
    """Return the documented types and keys of ``values``, without descriptions and examples."""
    return {
        name: {
            **{key: item.get(key) for key in ("type", "elements", "returned")},
            "contains": shape(item["contains"]) if "contains" in item else keys(item["sample"]),
        }
        for name, item in values.items()
    }


def keys(sample: object) -> object:
    if isinstance(sample, list):
        return [keys(item) for item in sample[:1]]
    return {key: keys(item) for key, item in sample.items()} if isinstance(sample, dict) else None


def test_gpu_samples_are_documented_as_those_of_gpu_monitor():
    """Ansible has no documentation fragments for return values."""
    probed = shape(documented(subject.RETURN)["gpu_samples"]["contains"])
    monitored = shape(documented(gpu_monitor.RETURN))
    assert probed == {name: monitored[name] for name in probed}
