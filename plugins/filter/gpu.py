# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for the GPUs of Linode plans, each documented in the YAML file of its name."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import (
    UnknownInstanceType,
    gpu_count,
    promised_facts,
)

Result = t.TypeVar("Result")


def linode_gpu_count(type_id: t.Any) -> int:
    """Return the number of GPUs of a Linode plan.

    :raises AnsibleFilterError: for an unknown type id, or a value that is not a string.
    """
    return _apply(gpu_count, type_id)


def linode_gpu_facts(type_id: t.Any) -> dict[str, t.Any]:
    """Return the part of the fact ``gpu`` that a Linode plan determines.

    :raises AnsibleFilterError: as :func:`linode_gpu_count`.
    """
    return _apply(promised_facts, type_id)


def _apply(function: Callable[[str], Result], type_id: t.Any) -> Result:
    if not isinstance(type_id, str):
        raise AnsibleFilterError(f"the type id of a Linode plan must be a string, got {type_id!r}")
    try:
        return function(type_id)
    except UnknownInstanceType as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Registers the filters with Ansible."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"linode_gpu_count": linode_gpu_count, "linode_gpu_facts": linode_gpu_facts}
