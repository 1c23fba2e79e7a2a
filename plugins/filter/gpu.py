# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``multigpu.vllm.linode_gpu_count``, which is documented in ``linode_gpu_count.yml``."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible.utils.display import Display
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import (
    UnknownInstanceType,
    assumption,
    gpu_count,
)


def linode_gpu_count(type_id: t.Any) -> int:
    """Return the number of GPUs in a Linode plan. Warn if the number is known only from the name of the plan.

    :raises AnsibleFilterError: for an unknown type id, or a value that is not a string.
    """
    if not isinstance(type_id, str):
        raise AnsibleFilterError(f"the type id of a Linode plan must be a string, got {type_id!r}")
    try:
        if warning := assumption(type_id):
            Display().warning(warning)
        return gpu_count(type_id)
    except UnknownInstanceType as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"linode_gpu_count": linode_gpu_count}
