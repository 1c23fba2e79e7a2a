# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

pytest.importorskip("linode_api4")

from ansible_collections.multigpu.vllm.plugins.doc_fragments.linode_api import ModuleDocFragment
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.options import API_ARGUMENTS
from ansible_collections.multigpu.vllm.plugins.modules import linode_firewall as subject

GOOD = {"label": "fence", "inbound": [{"label": "ssh", "ports": "22", "sources": ["203.0.113.7"]}]}


@pytest.fixture
def play(capsys, monkeypatch):
    """Runs the module; nothing listens at its address."""
    monkeypatch.delenv("LINODE_API_TOKEN", raising=False)
    monkeypatch.delenv("LINODE_API_URL", raising=False)

    def run(**options):
        with patch_module_args({**GOOD, **options}), pytest.raises(SystemExit) as ended:
            subject.main()
        return ended.value.code, json.loads(capsys.readouterr().out)

    return run


def test_documented_options_are_the_accepted_ones():
    documented = yaml.safe_load(subject.DOCUMENTATION)["options"]
    shared = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    assert set(documented) == set(subject.ARGUMENTS)
    assert set(shared) == set(API_ARGUMENTS)
    for options, arguments in ((documented, subject.ARGUMENTS), (shared, API_ARGUMENTS)):
        assert {key: value.get("default") for key, value in options.items()} == {
            key: value.get("default") for key, value in arguments.items()
        }
        assert {key: value["type"] for key, value in options.items()} == {
            key: value["type"] for key, value in arguments.items()
        }


def test_token_comes_from_the_environment_or_the_option(play, monkeypatch):
    code, result = play()
    assert code == 1
    assert "LINODE_API_TOKEN" in result["msg"]
    monkeypatch.setenv("LINODE_TOKEN", "0123456789abcdef")
    code, result = play(api_url="http://api.linode.com/v4")
    assert "unencrypted" in result["msg"]
    assert "0123456789abcdef" not in json.dumps(result)


def test_rule_without_source_is_refused(play):
    code, result = play(inbound=[{"label": "ssh", "ports": "22"}])
    assert code == 1
    assert "sources" in result["msg"]
