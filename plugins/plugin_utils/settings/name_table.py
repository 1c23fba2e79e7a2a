# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look up in which vLLM releases a name exists.

Between two releases of a table, the exact version that added or removed a name is not known. A version therefore lacks
a name only if neither the preceding nor the following release has it.
"""

from __future__ import annotations

import bisect
import difflib
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version, parse_version, show_version

#: Minimum similarity of a suggested name, as measured by ``difflib``.
_SIMILARITY: t.Final = 0.75


class NameTable:
    """Names of arguments or variables, with the first and the last release that has each name.

    ``releases`` are in ascending order. ``spans`` maps a name to the positions of its first and last release.
    """

    def __init__(self, releases: Sequence[str], rows: Iterable[Mapping[str, t.Any]]) -> None:
        """Read rows with the keys ``first``, ``last`` (the latest release if missing), and lists of names."""
        self.releases: t.Final = tuple(releases)
        self.versions: t.Final = [parse_version(release) or () for release in releases]
        self.spans: t.Final[dict[str, tuple[int, int]]] = {
            name: (self.releases.index(row["first"]), self.releases.index(row.get("last", self.releases[-1])))
            for row in rows
            for names in row.values()
            if isinstance(names, list)
            for name in names
        }

    def names_in(self, version: Version | None) -> list[str]:
        """Return the names that vLLM ``version`` has, or may have if it lies between two releases.

        The list is empty if the version is unknown, or older or newer than all releases.
        """
        if version is None or not self._covers(version):
            return []
        before, after = self._neighbours(version)
        return [name for name, (first, last) in self.spans.items() if first <= after and last >= before]

    def problem(self, name: str, version: Version | None, noun: str) -> str | None:
        """Return why vLLM ``version`` lacks ``name``, or ``None`` if it has the name or may have it.

        A version that is newer than all releases may have any name that was not removed before.
        """
        if name not in self.spans:
            release = show_version(version) if version else f"up to {self.releases[-1]}"
            return f"unknown {noun} in vLLM {release}" if version is None or self._covers(version) else None
        if version is None:
            return None
        first, last = self.spans[name]
        before, after = self._neighbours(version)
        if last < before:
            return f"removed after vLLM {self.releases[last]}"
        return f"not in vLLM {show_version(version)}, added in {self.releases[first]}" if first > after else None

    def similar(self, name: str, version: Version | None) -> list[str]:
        """Return up to two similar names that vLLM ``version`` has, or that any release has if it is unknown."""
        return difflib.get_close_matches(name, self.names_in(version) or self.spans, n=2, cutoff=_SIMILARITY)

    def _covers(self, version: Version) -> bool:
        return self.versions[0] <= version <= self.versions[-1]

    def _neighbours(self, version: Version) -> tuple[int, int]:
        """Return the positions of the releases before and after ``version``, both its own if it is a release."""
        after = bisect.bisect_left(self.versions, version)
        return (after, after) if version in self.versions else (after - 1, after)
