# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look up in ``data/profiles.yml`` which settings a tuning profile has for a vLLM version."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.known_issues import issues
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import Setting
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version, parse_version
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import load_table


@dataclass(frozen=True)
class ProfileSetting:
    """An argument that a profile sets, its value and the reason for this value.

    If ``needs_fp8`` is true, the profile sets the argument only on GPUs that support FP8. ``since`` is the first vLLM
    version with this value, or empty. ``differs``: why another profile has another value than the multi-GPU guide.
    """

    name: str
    value: t.Any
    why: str = "Value of the multi-GPU guide."
    needs_fp8: bool = False
    since: str = ""
    differs: str = ""


_TABLE: t.Final = load_table("profiles")
PROFILES: t.Final[dict[str, tuple[ProfileSetting, ...]]] = {
    profile: tuple(ProfileSetting(**row) for row in [*rows, *_TABLE["common"]])
    for profile, rows in _TABLE["profiles"].items()
} | {f"guide-{profile}": tuple(ProfileSetting(**row) for row in rows) for profile, rows in _TABLE["guide"].items()}


def settings_of(profile: str, version: Version, gpu_names: Iterable[str] = ()) -> list[Setting]:
    """Return the settings of the tuning profile ``profile`` for a vLLM version and for the node's GPUs.

    ``gpu_names`` contains the GPUs' product names. If any of the GPUs lacks FP8, settings that need FP8 are left out.
    Settings that this version does not know yet, or for which it has a known issue, are left out, including those that
    are merely redundant.

    :raises ValueError: if the profile is unknown.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}, must be one of {', '.join(PROFILES)}")
    without_fp8 = any(part in name for name in gpu_names for part in _TABLE["gpus_without_fp8"])
    return [
        Setting(row.name, row.value, f"profile {profile}: {row.why}")
        for row in PROFILES[profile]
        if not (row.needs_fp8 and without_fp8)
        and version >= (parse_version(row.since) or ())
        and not issues({row.name: row.value}, {}, version)
    ]
