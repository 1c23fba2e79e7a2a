# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules say about check mode, diff mode and facts, written once."""

from __future__ import annotations


class ModuleDocFragment:
    """Base: ``multigpu.vllm.attributes``. Add ``.info`` (reads only) or ``.facts`` (reads only, returns facts)."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff
      mode.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second time changes nothing.
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    details: This module only reads, so check mode changes nothing in what it does.
  diff_mode:
    support: none
    details: There is never a difference to show, because this module only reads.
  idempotent:
    support: full
    details: This module only reads.
"""

    FACTS = r"""
options: {}
attributes:
  facts:
    description: Action returns an C(ansible_facts) dictionary that will update existing host facts.
    support: full
  check_mode:
    support: full
    details: This module only reads, so check mode changes nothing in what it does.
  diff_mode:
    support: none
    details: There is never a difference to show, because this module only reads.
  idempotent:
    support: full
    details: This module only reads.
"""
