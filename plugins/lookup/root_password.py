# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root password that is on disk before anything is created with it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: root_password
short_description: A root password from a file, generated where the file is not there yet
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Reads the password from the file. Where there is no file, generates a password that Linode accepts and writes it
    first, readable by its owner only and all at once, so that no password is ever used and lost.
  - Runs that start together agree on one password.
options:
  _terms:
    description: Path of the file. Its folder is made where it is missing.
    required: true
  vault_secret:
    description: Password of the vault. With it the file is an ansible-vault file.
    type: str
notes:
  - The file is written in check mode too. Do not evaluate the lookup there.
"""

EXAMPLES = r"""
- name: A node whose root password is kept in a vault file
  multigpu.vllm.linode_instance:
    label: vllm-1
    type: g2-gpu-rtx4000a4-m
    region: [us-ord]
    image: linode/ubuntu24.04
    root_pass: "{{ lookup('multigpu.vllm.root_password', 'secrets/vllm-1.yml', vault_secret=vault_password) }}"
"""

RETURN = r"""
_raw:
  description: The password.
  type: list
  elements: str
"""

import os
import secrets
import typing as t
from pathlib import Path

from ansible.errors import AnsibleLookupError
from ansible.parsing.vault import AnsibleVaultError, VaultLib, VaultSecret, is_encrypted
from ansible.plugins.lookup import LookupBase
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.credentials import generate_password, weakness


def stored_password(path: Path, vault_secret: str | None = None) -> str:
    """The password in ``path``, which exists afterwards with mode 0600.

    :raises AnsibleLookupError: where the file cannot be written or read, or holds no usable password.
    """
    vault = VaultLib([("default", VaultSecret(vault_secret.encode()))]) if vault_secret else None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            text = generate_password() + "\n"
            _write_once(path, vault.encrypt(text) if vault else text.encode())
        content = path.read_bytes()
    except OSError as error:
        raise AnsibleLookupError(f"The root password cannot be kept in {path}: {error.strerror}") from None
    return _checked(path, content, vault)


def _checked(path: Path, content: bytes, vault: VaultLib | None) -> str:
    if is_encrypted(content):
        if vault is None:
            raise AnsibleLookupError(f"{path} is an ansible-vault file; give vault_secret")
        try:
            content = vault.decrypt(content)
        except AnsibleVaultError:
            raise AnsibleLookupError(f"{path} cannot be decrypted with this vault_secret") from None
    password = content.decode(errors="replace").strip()
    if reason := weakness(password):
        raise AnsibleLookupError(f"{path} holds no password that Linode accepts: {reason}")
    return password


def _write_once(path: Path, content: bytes) -> None:
    """Make ``path`` whole or not at all, and leave it alone where another process was faster."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class LookupModule(LookupBase):
    """One password a path."""

    def run(self, terms: list[str], variables: t.Any = None, **kwargs: t.Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        return [stored_password(Path(term).expanduser(), self.get_option("vault_secret")) for term in terms]
