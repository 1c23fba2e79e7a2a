# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.filter import vllm_plan as source

SETTINGS = {
    "version": "0.32.0",
    "image": "vllm/vllm-openai:v0.32.0",
    "model": "a/b",
    "bind_address": "127.0.0.1",
    "port": 8000,
    "cache_dir": "/c",
    "directory": "/d",
    "log_max_size": "1m",
    "log_max_files": 1,
    "gpus": "none",
}
vllm_plan = source.FilterModule().filters()["vllm_plan"]


def test_the_plan_has_the_documented_keys() -> None:
    with open(source.__file__.replace(".py", ".yml"), encoding="utf-8") as file:
        documented = set(yaml.safe_load(file)["RETURN"]["_value"]["contains"])
    assert set(vllm_plan(SETTINGS)) == documented | {"pipeline_parallel_size", "data_parallel_size"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"profile": "fast"}, "throughput, latency, context"), ({"extra_args": "--x 'y"}, "quotation")],
)
def test_what_cannot_be_understood_is_told(changes: dict[str, str], words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words):
        vllm_plan({**SETTINGS, **changes})


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("localhost", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("192.0.2.7", "http://192.0.2.7:8000"),
        ("2001:db8::7", "http://[2001:db8::7]:8000"),
    ],
)
def test_a_node_reaches_what_it_publishes(address: str, url: str) -> None:
    assert source.FilterModule().filters()["vllm_base_url"](address, 8000) == url
    assert vllm_plan({**SETTINGS, "bind_address": address, "api_key_file": True})["container"]["base_url"] == url


def test_site_validates_where_deploy_publishes() -> None:
    plays = yaml.safe_load((Path(__file__).parents[4] / "playbooks/site.yml").read_text("utf-8"))
    (validate,) = [play for play in plays if play["name"] == "Validate"]
    for option in ("vllm_bind_address", "vllm_port", "vllm_base_url"):
        assert option in validate["vars"]["validate_base_url"]
