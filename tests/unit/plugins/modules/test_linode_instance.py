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
from ansible_collections.multigpu.vllm.plugins.modules import linode_instance as subject

GOOD = {
    "label": "vllm-1",
    "type": "g2-gpu-rtx4000a4-m",
    "region": ["us-ord"],
    "image": "linode/ubuntu24.04",
    "authorized_users": ["alice"],
}


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


@pytest.mark.parametrize("missing", ["type", "region"])
def test_present_needs_plan_and_region(play, missing):
    code, result = play(**{missing: None})
    assert code == 1
    assert missing in result["msg"]


def test_interfaces_and_their_short_form_exclude_each_other(play):
    _code, result = play(vpc_subnet_id=1, interfaces=[{"purpose": "public"}])
    assert "mutually exclusive" in result["msg"]


@pytest.mark.parametrize("secret", ["root_pass", "user_data"])
def test_secrets_are_not_shown(play, secret):
    code, result = play(**{secret: "kR7w-uYf2mXe9_aQ4.tBn6", "label": "not valid"})
    assert code == 1
    assert "kR7w" not in json.dumps(result)
