# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible_collections.multigpu.vllm.plugins.lookup import root_password as subject
from ansible_collections.multigpu.vllm.plugins.lookup.root_password import stored_password
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.credentials import password_problem


def test_stored_password_writes_private_file_once(tmp_path):
    path = tmp_path / "new" / "vllm-1.root_pass"
    password = stored_password(path)

    assert password_problem(password) is None
    assert path.read_text() == password + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stored_password(path) == password
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_stored_password_vault_file_is_encrypted(tmp_path):
    path = tmp_path / "vllm-1.root_pass"
    password = stored_password(path, "vault-secret")

    assert path.read_text().startswith("$ANSIBLE_VAULT;")
    assert password not in path.read_text()
    assert stored_password(path, "vault-secret") == password
    with pytest.raises(AnsibleLookupError, match="cannot decrypt"):
        stored_password(path, "other")
    with pytest.raises(AnsibleLookupError, match="set vault_password"):
        stored_password(path)


def test_stored_password_parallel_runs_agree(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        passwords = set(pool.map(stored_password, [tmp_path / "shared"] * 40))

    assert len(passwords) == 1
    assert [item.name for item in tmp_path.iterdir()] == ["shared"]


@pytest.mark.parametrize("content", ["", "short\n", "\x00\xff"])
def test_stored_password_refuses_invalid_file(tmp_path, content):
    path = tmp_path / "broken"
    path.write_text(content)

    with pytest.raises(AnsibleLookupError, match="has no valid root password"):
        stored_password(path)
    assert path.read_text() == content


def test_stored_password_unwritable_directory_is_reported(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(AnsibleLookupError, match="cannot store the root password in"):
        stored_password(tmp_path / "file" / "x")


def test_lookup_returns_one_password_per_path(tmp_path):
    options = yaml.safe_load(subject.DOCUMENTATION)["options"]
    constants.config.initialize_plugin_configuration_definitions("lookup", "multigpu.vllm.root_password", options)
    plugin = subject.LookupModule()
    plugin._load_name = "multigpu.vllm.root_password"
    passwords = plugin.run([str(tmp_path / "a"), str(tmp_path / "b")], {}, vault_password="vault-secret")

    assert len(set(passwords)) == 2
