# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that no report format contains a secret planted in arguments, environments, logs and responses."""

from __future__ import annotations

import json

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.logs import log_scan
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import formats
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import node_document, report_document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.redaction import known_secrets, redact
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import ASCII
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.terminal import summary_text
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

#: Part of every planted secret and of no other text.
PLANT = "pl4nted"

ARGV = [
    *("/usr/bin/python3", "/usr/local/bin/vllm", "serve", "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ"),
    *("--tensor-parallel-size", "4", "--api-key", f"{PLANT}-key-1", f"{PLANT}-key-2", "--hf-token", f"{PLANT}-hf"),
    *(f"--ssl-keyfile-password={PLANT}-ssl", "--otlp-traces-endpoint", f"https://user:{PLANT}-otlp@traces:4317"),
    *("--model-loader-extra-config", json.dumps({"s3": {"secret": f"{PLANT}-s3"}, "api_key": f"{PLANT}-loader"})),
]
ENVIRONMENT = [
    ("VLLM_API_KEY", f"{PLANT}-environment"),
    ("VLLM_S3_SECRET_ACCESS_KEY", f"{PLANT}-access"),
    ("HF_TOKEN", f"hf_{PLANT}AbCdEfGh"),
    ("NCCL_DEBUG", "INFO"),
]
LOG = f"""\
INFO 11-23 17:00:00 [api_server.py:1044] vLLM API server version 0.32.0
INFO 11-23 17:00:00 [utils.py:253] non-default args: {{'model': 'm', 'api_key': ['{PLANT}-log', '{PLANT}-log2'], \
'hf_token': '{PLANT}-log3', 'tensor_parallel_size': 4}}
gpu-1:511:511 [0] NCCL INFO NCCL_DEBUG set by environment to INFO
gpu-1:511:511 [0] NCCL INFO Channel 00 : 0[0] -> 1[1] via SHM/direct/direct
ERROR 11-23 17:00:09 [core.py:866] RuntimeError: NCCL error: unhandled cuda error; VLLM_API_KEY={PLANT}-fault
ERROR 11-23 17:00:09 [core.py:867] torch.OutOfMemoryError: CUDA out of memory, --api-key {PLANT}-oom, Bearer {PLANT}-b
(EngineCore pid=9) ERROR NCCL WARN Cuda failure 'out of memory' s3://user:{PLANT}-url@bucket hf_{PLANT}0123456789
"""


@pytest.fixture
def planted(results: dict) -> dict:
    """Return the registered results of a node with a secret in every place that can hold one."""
    scanned = log_scan.run({"text": LOG})
    results["logs"] = scanned
    results["tensor_parallel"]["arguments"] = engine_args.parse(ARGV)
    results["tensor_parallel"]["environment"] = engine_args.mask_environment(ENVIRONMENT)
    results["load"] = {
        "failed": True,
        "msg": f"server refused: 401 Unauthorized for Authorization: Bearer {PLANT}-refused, api_key='{PLANT}-msg'",
    }
    return results


def test_planted_log_is_parsed(planted: dict) -> None:
    assert PLANT in LOG
    assert [item["line"] for item in planted["logs"]["findings"] if item.get("line")], "lines are quoted"
    assert planted["logs"]["engine"]["arguments"]["tensor_parallel_size"] == 4


@pytest.mark.parametrize("secrets_known", [True, False], ids=["key known", "key unknown"])
def test_redaction_leaves_no_secret_in_any_format(planted: dict, secrets_known: bool) -> None:
    node = NodeFacts.from_results("node-01", planted)
    report = report_document(
        {"node-01": node_document(node, judge(node))},
        run={
            "time": "2026-11-23T17:00:00+00:00",
            "collection_version": "0.1.0",
            "ansible_version": "2.19.4",
            "check_mode": False,
            "options": {"fail_on": "fail"},
        },
        secrets=[f"{PLANT}-msg", dict(ENVIRONMENT)] if secrets_known else [],
    )
    written = {**formats.rendered(report, formats.FORMATS), "terminal": summary_text(report, [], ASCII, full=True)}
    assert len(written) == len(formats.FORMATS) + 1
    assert [name for name, content in written.items() if PLANT in content] == []
    assert "***" in written["report.json"], "the masked values are still present"
    assert "tensor_parallel_size" in written["report.html"]


def test_known_secrets_from_texts_and_environment() -> None:
    environment = {"HF_TOKEN": "hush", "LD_LIBRARY_PATH": "/lib", "API_KEY": None}
    assert known_secrets(["s3cret", None, "", environment]) == ["s3cret", "hush"]


def test_redact_finds_url_encoded_and_json_escaped_secrets() -> None:
    secrets = known_secrets(['p/w"1'])
    values = {"a": 'p/w"1', "b": "http://host/?k=p%2Fw%221", "c": 'line {"k": "p/w\\"1"}'}
    assert redact(values, secrets) == {"a": "***", "b": "http://host/?k=***", "c": 'line {"k": "***"}'}


def test_redact_masks_longer_secret_before_its_prefix() -> None:
    assert redact("abcdef", known_secrets(["abc", "abcdef"])) == "***"


def test_redact_masks_by_name_and_by_form() -> None:
    values = {
        "api_key": ["anything", "else"],
        "HF_TOKEN": "anything",
        "list": [{"line": "curl -H 'Bearer s3cret' /v1"}],
        "tokens": 128,
        "output_tokens": "128",
        "nothing": None,
    }
    masked = redact(values, [])
    assert masked["api_key"] == masked["HF_TOKEN"] == "***"
    assert "s3cret" not in masked["list"][0]["line"]
    assert (masked["tokens"], masked["output_tokens"], masked["nothing"]) == (128, "128", None)


def test_redact_secret_equal_to_a_schema_word_breaks_nothing(fleet: dict) -> None:
    masked = redact(fleet, ["pass", "memory"])
    assert masked["hosts"]["healthy"]["status"] == "pass"
    assert masked["hosts"]["healthy"]["sections"][2]["findings"][0]["check"] == "memory.idle_gpu"
    assert formats.rendered(masked, formats.FORMATS)


def test_redact_report_without_secrets_is_unchanged(fleet: dict) -> None:
    assert redact(fleet, []) == fleet
