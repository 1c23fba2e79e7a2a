# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import options as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput

GOOD = {
    "api_token": "0123456789abcdef",
    "api_url": "https://api.linode.com/v4",
    "ca_path": None,
    "connect_timeout": 1.0,
    "read_timeout": 2.0,
    "wait_timeout": 3.0,
}


def test_budget_is_the_wait_timeout():
    assert subject.open_api(GOOD).patience.budget == 3.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"connect_timeout": 0}, "connect_timeout is 0"),
        ({"read_timeout": -1}, "read_timeout is -1"),
        ({"wait_timeout": 0}, "wait_timeout is 0"),
        ({"ca_path": "/nonexistent.pem"}, "does not exist"),
        ({"api_token": None}, "LINODE_API_TOKEN"),
        ({"api_url": "http://example.org"}, "unencrypted"),
    ],
)
def test_options_that_cannot_work(changes, says):
    with pytest.raises(InvalidInput, match=says):
        subject.open_api({**GOOD, **changes})


def test_missing_library_is_named_with_its_version(monkeypatch):
    class Module:
        def fail_json(self, **result):
            raise AssertionError(result["msg"])

    subject.require_library(Module())
    monkeypatch.setattr(subject, "LIBRARY_ERROR", "Traceback")
    with pytest.raises(AssertionError, match=r"linode_api4 >= 5\.44"):
        subject.require_library(Module())


def test_secrets_are_marked():
    assert subject.API_ARGUMENTS["api_token"]["no_log"] is True
