# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib
import re
import typing as t
from unittest import mock

import pytest
from ansible.errors import AnsibleError
from ansible_collections.multigpu.vllm.plugins.action.check_names import ActionModule
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import option_names, roles

ROLES: t.Final = pathlib.Path(__file__).resolve().parents[4] / "roles"


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    monkeypatch.setattr("ansible.plugins.action.display", mock.Mock(warning=texts.append))
    return texts


def check(role: str, **variables: t.Any) -> dict[str, t.Any]:
    task = mock.Mock(args={"role": role}, async_val=0, check_mode=False, diff=False)
    action = ActionModule(task, mock.Mock(), mock.Mock(), mock.Mock(), mock.Mock(), mock.Mock())
    return action.run(task_vars=variables)


def test_a_name_that_is_nearly_an_options_is_a_warning(warned: list[str]) -> None:
    found = check("provision", provision_flet=[], provision_fleet=[], provision_ssh_source=[], vllm_modle="x")
    assert found == {"changed": False, "misspelt": warned}
    assert [text.split()[0] for text in warned] == ["provision_flet", "provision_ssh_source"]
    assert [text.rstrip("?").split()[-1] for text in warned] == ["provision_fleet", "provision_ssh_sources"]


def test_a_name_of_ones_own_is_none(warned: list[str]) -> None:
    assert check("vllm", vllm_of_our_department=1, vllm=2) == {"changed": False, "misspelt": []}
    assert warned == []


def test_a_role_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(AnsibleError, match=r"must be one of: benchmark, .*vllm"):
        check("vlm")


@pytest.mark.parametrize("role", sorted(set(roles()) - {"simulated_node"}))
def test_every_role_looks_at_the_names_of_its_options(role: str) -> None:
    tasks = "".join(path.read_text("utf-8") for path in (ROLES / role / "tasks").glob("*.yml"))
    assert f"check_names:\n    role: {role}\n" in tasks or "multigpu.vllm.check_options:" in tasks


@pytest.mark.parametrize("role", roles())
def test_no_option_is_taken_for_a_misspelt_one(role: str, warned: list[str]) -> None:
    """Variables of the role and of its documentation, its own constants and results among them."""
    texts = [path.read_text("utf-8") for path in (ROLES / role).rglob("*.*") if path.suffix in (".yml", ".md")]
    used = set(re.findall(rf"\b{role}_[a-z_]+\b", "\n".join(texts)))
    assert used & option_names(role)
    assert check(role, **dict.fromkeys(used))["misspelt"] == []
