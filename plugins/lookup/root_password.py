# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup plugin that stores a new root password in a file before the password is used to create a Linode."""

from __future__ import annotations

DOCUMENTATION = r"""
name: root_password
short_description: Read a root password from a file, or generate and store it
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Reads the password from the file. If the file does not exist, generates a password that Linode accepts, and stores
    it in the file before returning it. A password that is in use can therefore not be lost.
  - The file is written atomically and is readable only by its owner.
  - Runs that start at the same time get the same password.
options:
  _terms:
    description: Path of the password file. Its directory is created if it does not exist.
    required: true
  vault_password:
    description: Ansible Vault password. If it is set, the file is encrypted with Ansible Vault.
    type: str
notes:
  - The lookup writes the file even in check mode, so do not evaluate it in check mode.
"""

EXAMPLES = r"""
- name: Create a node whose root password is kept in a vault file
  multigpu.vllm.linode_instance:
    label: vllm-1
    type: g2-gpu-rtx4000a4-m
    region: [us-ord]
    image: linode/ubuntu24.04
    root_pass: "{{ lookup('multigpu.vllm.root_password', 'secrets/vllm-1.yml', vault_password=my_vault_password) }}"
"""

RETURN = r"""
_raw:
  description: The root password that is stored in each file.
  type: list
  elements: str
"""

import os
import tempfile
import typing as t
from pathlib import Path

from ansible.errors import AnsibleLookupError
from ansible.parsing.vault import AnsibleVaultError, VaultLib, VaultSecret, is_encrypted
from ansible.plugins.lookup import LookupBase
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.credentials import (
    generate_password,
    password_problem,
)


def stored_password(path: Path, vault_password: str | None = None) -> str:
    """Return the password in the file ``path``. If the file does not exist, create it (mode 0600).

    :raises AnsibleLookupError: if the file cannot be written or read, or does not contain a valid password.
    """
    vault = VaultLib([("default", VaultSecret(vault_password.encode()))]) if vault_password else None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            text = generate_password() + "\n"
            _create(path, vault.encrypt(text) if vault else text.encode())
        content = path.read_bytes()
    except OSError as error:
        raise AnsibleLookupError(f"cannot store the root password in {path}: {error.strerror}") from None
    return _parse(path, content, vault)


def _parse(path: Path, content: bytes, vault: VaultLib | None) -> str:
    if is_encrypted(content):
        if vault is None:
            raise AnsibleLookupError(f"{path} is encrypted with Ansible Vault; set vault_password")
        try:
            content = vault.decrypt(content)
        except AnsibleVaultError:
            raise AnsibleLookupError(f"cannot decrypt {path} with this vault_password") from None
    password = content.decode(errors="replace").strip()
    if problem := password_problem(password):
        raise AnsibleLookupError(f"{path} has no valid root password: {problem}")
    return password


def _create(path: Path, content: bytes) -> None:
    """Atomically create the file ``path`` with ``content``. Do nothing if another process created the file first."""
    # The temporary file is readable only by its owner, and is deleted at the end of the ``with`` block.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as draft:
        draft.write(content)
        draft.flush()
        os.fsync(draft.fileno())
        try:
            os.link(draft.name, path)
        except FileExistsError:
            return
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class LookupModule(LookupBase):
    """Return the root password stored in each given file. If a file does not exist, create it with a new password."""

    def run(self, terms: list[str], variables: t.Any = None, **kwargs: t.Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        return [stored_password(Path(term).expanduser(), self.get_option("vault_password")) for term in terms]
