# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Document the attributes that several modules and actions share."""

from __future__ import annotations


class ModuleDocFragment:
    """Provide documentation fragments for the attributes of modules and actions.

    Every module extends ``multigpu.vllm.attributes`` and the other fragments that apply to it: ``.info`` if it only
    reads, ``.action`` if an action plugin does the work, and one of the ``.action_group`` fragments, which list the
    module's action groups in ``meta/runtime.yml``.
    """

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff
      mode.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates
      that nothing changed.
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    details: This module only reads, so it behaves the same in check mode.
  diff_mode:
    support: N/A
    details: This module does not change anything.
  idempotent:
    support: full
    details: This module does not change anything.
"""

    ACTION = r"""
options: {}
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the
      controller.
    support: full
"""

    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/multigpu.vllm.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership: [multigpu.vllm.all]
"""

    ACTION_GROUP_GPU = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/multigpu.vllm.gpu) in C(module_defaults) to set defaults for this module.
    support: full
    membership: [multigpu.vllm.all, multigpu.vllm.gpu]
"""

    ACTION_GROUP_LINODE = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/multigpu.vllm.linode) in C(module_defaults) to set defaults for this module.
    support: full
    membership: [multigpu.vllm.all, multigpu.vllm.linode]
"""

    ACTION_GROUP_VLLM = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/multigpu.vllm.vllm) in C(module_defaults) to set defaults for this module.
    support: full
    membership: [multigpu.vllm.all, multigpu.vllm.vllm]
"""
