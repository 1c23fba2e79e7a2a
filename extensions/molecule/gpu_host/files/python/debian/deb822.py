# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class Deb822(dict):
    """The fields of a package source, written as python3-debian does."""

    def dump(self) -> str:
        return "".join(f"{name}: {value}\n" for name, value in self.items())
