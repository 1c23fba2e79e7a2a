# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import (
    Version,
    parse_version,
    show_version,
)


@pytest.mark.parametrize(
    ("text", "version"),
    [("0.32.0", (0, 32, 0)), ("0.32.0+cpu", (0, 32, 0)), ("v0.8", (0, 8, 0)), ("dev", None), (None, None)],
)
def test_parse_version_reads_numbers_or_returns_none(text: str | None, version: Version | None) -> None:
    assert parse_version(text) == version


def test_show_version_names_an_unknown_version() -> None:
    assert [show_version((0, 10, 2)), show_version(None)] == ["0.10.2", "of unknown version"]
