# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import monitor
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.modules import gpu_monitor

PLAYBOOKS = Path(__file__).parents[4] / "playbooks"


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    """Simulate a node without a GPU, even if the machine that runs the tests has one."""

    def missing(backend):
        raise GpuUnavailable("no_driver")

    monkeypatch.setattr(gpu_monitor, "run", lambda options, check: monitor.run(options, check, missing, list))


@pytest.fixture
def play(capsys):
    """Return a function that runs the module and returns its exit code and result."""

    def run(**options):
        with patch_module_args(options), pytest.raises(SystemExit) as ended:
            gpu_monitor.main()
        return ended.value.code, json.loads(capsys.readouterr().out)

    return run


@pytest.mark.skipif(sys.version_info < (3, 11), reason="ansible-core needs Python 3.11 on the controller")
def test_gpu_monitor_without_driver_succeeds_and_its_playbook_fails(play):
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar, trust_as_template

    code, result = play()
    assert code == 0
    assert result["changed"] is False
    assert result["findings"][0]["check"] == "hardware.driver"
    sample, fail = yaml.safe_load((PLAYBOOKS / "monitor.yml").read_text("utf-8"))[0]["tasks"][-2:]
    for outcome, fails in ((result, True), ({"error": None}, False)):
        templar = Templar(loader=DataLoader(), variables={sample["register"]: outcome})
        assert templar.evaluate_conditional(trust_as_template(fail["when"])) is fails
    assert "ansible.builtin.fail" in fail


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duration": -1}, "got -1"),
        ({"interval": "often"}, "interval"),
        ({"backend": "dcgm"}, "nvidia_smi"),
        ({"output": "/tmp/samples.txt"}, ".csv or .json"),
        ({"progress_path": "/nonexistent/progress.json"}, "/nonexistent/progress.json"),
    ],
)
def test_gpu_monitor_refuses_invalid_options(play, options, message):
    code, result = play(**options)
    assert code == 1
    assert message in result["msg"]


def test_gpu_monitor_documents_its_result(play):
    _code, result = play()
    documented = yaml.safe_load(gpu_monitor.RETURN)
    assert set(documented) - {"record"} == set(result) - {"changed", "invocation"}


def test_gpu_monitor_documents_its_options():
    documented = yaml.safe_load(gpu_monitor.DOCUMENTATION)["options"]
    assert set(documented) == set(monitor.ARGUMENT_SPEC)
    for name, option in monitor.ARGUMENT_SPEC.items():
        assert documented[name]["type"] == option["type"], name
        assert documented[name].get("choices") == option.get("choices"), name
        assert documented[name].get("default") == option.get("default"), name
