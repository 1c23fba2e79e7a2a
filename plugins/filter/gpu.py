# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about GPUs; each is documented in the YAML file of its name."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import (
    UnknownInstanceType,
    gpu_count,
    promised_facts,
)

Answer = t.TypeVar("Answer")


def linode_gpu_count(type_id: t.Any) -> int:
    """Number of GPUs of a Linode plan.

    :raises AnsibleFilterError: for an id whose number of GPUs cannot be told, or something that is no text.
    """
    return _ask(gpu_count, type_id)


def linode_gpu_facts(type_id: t.Any) -> dict[str, t.Any]:
    """What the fact ``gpu`` will be on a node of a Linode plan, as far as the plan promises it.

    :raises AnsibleFilterError: as :func:`linode_gpu_count`.
    """
    return _ask(promised_facts, type_id)


def _ask(question: Callable[[str], Answer], type_id: t.Any) -> Answer:
    if not isinstance(type_id, str):
        raise AnsibleFilterError(f"this needs the type id of a Linode plan as text, not {type_id!r}")
    try:
        return question(type_id)
    except UnknownInstanceType as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"linode_gpu_count": linode_gpu_count, "linode_gpu_facts": linode_gpu_facts}
