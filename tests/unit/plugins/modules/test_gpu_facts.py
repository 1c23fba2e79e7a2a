# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import facts
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.modules import gpu_facts


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    """Simulate a node without a GPU, even if the machine that runs the tests has one."""

    def missing(backend):
        raise GpuUnavailable("no_driver")

    monkeypatch.setattr(gpu_facts, "run", lambda params: facts.run(params, missing, list))


@pytest.fixture
def play(capsys):
    """Return a function that runs the module and returns its exit code and result."""

    def run(**options):
        with patch_module_args(options), pytest.raises(SystemExit) as ended:
            gpu_facts.main()
        return ended.value.code, json.loads(capsys.readouterr().out)

    return run


def test_module_node_without_driver_is_a_result(play):
    code, result = play(instance_type="g2-gpu-rtx4000a4-m")
    assert code == 0
    assert result["changed"] is False
    assert result["ansible_facts"]["gpu"]["expected_count"] == 4
    (count,) = [finding for finding in result["findings"] if finding["check"] == "hardware.gpu_count"]
    assert count["status"] == "fail"


@pytest.mark.parametrize(("options", "warned"), [({}, True), ({"plan_gpus": 2}, False), ({"expected_count": 2}, False)])
def test_module_warns_about_an_assumed_gpu_count(play, options, warned, monkeypatch):
    warnings = []
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.warn", lambda _module, text: warnings.append(text))
    code, result = play(instance_type="g4-gpu-l40-2", **options)
    assert (code, result["ansible_facts"]["gpu"]["expected_count"]) == (0, 2)
    assert ["assuming gpus: 2 from its name" in text for text in warnings] == [True] * warned


def test_module_check_mode_reads(play):
    code, result = play(expected_count=0, _ansible_check_mode=True)
    assert code == 0
    assert result["findings"][0]["status"] == "pass"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"instance_type": "g6-gpu-2"}, "g6-gpu-2"),
        ({"instance_type": ""}, "unknown Linode type ''"),
        ({"expected_count": -4}, "expected_count must be at least 0, got -4"),
        ({"plan_gpus": "many"}, "many"),
        ({"backend": "dcgm"}, "nvidia_smi"),
        ({"gather_subset": ["everything"]}, "topology"),
    ],
)
def test_module_invalid_option_fails(play, options, message):
    code, result = play(**options)
    assert code == 1
    assert result["failed"] is True
    assert message in result["msg"]


def test_module_options_are_documented():
    documented = yaml.safe_load(gpu_facts.DOCUMENTATION)["options"]
    assert set(documented) == set(gpu_facts.ARGUMENT_SPEC)
    for name, option in gpu_facts.ARGUMENT_SPEC.items():
        assert documented[name].get("choices") == option.get("choices"), name
        assert documented[name].get("default") == option.get("default"), name
