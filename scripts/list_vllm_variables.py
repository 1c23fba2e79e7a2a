# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print `releases`, `variables` and `choices` of plugins/plugin_utils/data/variables.yml for all vLLM releases.

    python scripts/list_vllm_variables.py > FILE

Reads the Python files of each x86_64 wheel on PyPI since 0.6.3 through HTTP range requests: 600 MB for 55 releases. A
variable exists in a release if vllm/envs.py defines it or another Python file reads it from the environment.
"""

from __future__ import annotations

import ast
import collections
import io
import re
import textwrap
import typing as t
import zipfile

import requests

INDEX: t.Final = "https://pypi.org/simple/vllm/"
WHEEL: t.Final = re.compile(r"vllm-(\d+\.\d+\.\d+)-.*x86_64\.whl")
OLDEST: t.Final = (0, 6, 3)
SESSION: t.Final = requests.Session()
NAME: t.Final = r"""["'](VLLM_[A-Z0-9_]+)["']"""
READ: t.Final = re.compile(rf"(?:environ(?:\.\w+)?\s*[\[(]|getenv\()\s*{NAME}|{NAME}\s+(?:not\s+)?in\s+os\.environ")
#: Conversions that fail for every text that is not such a number.
CONVERSIONS: t.Final = {
    "integers": re.compile(r"\bint\(os\.(?:getenv\(|environ(?:\.get\(|\[))|\bmaybe_convert_(?:int|bool)\("),
    "numbers": re.compile(r"\bfloat\(os\.(?:getenv\(|environ(?:\.get\(|\[))"),
}


class RemoteFile(io.RawIOBase):
    """A seekable file on a server that supports range requests."""

    def __init__(self, url: str, size: int) -> None:
        self._url, self._size, self._position = url, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def readinto(self, buffer: t.Any) -> int:
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        response = SESSION.get(self._url, headers={"Range": f"bytes={self._position}-{end - 1}"}, timeout=60)
        response.raise_for_status()
        buffer[: len(response.content)] = response.content
        self._position += len(response.content)
        return len(response.content)


def definitions(envs: str) -> dict[str, ast.expr]:
    """Return the expressions of ``environment_variables`` in vllm/envs.py by variable."""
    (table,) = (
        node.value
        for node in ast.walk(ast.parse(envs))
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict)
        if getattr(node.target, "id", "") == "environment_variables"
    )
    names = (str(t.cast("ast.Constant", key).value) for key in table.keys)
    return {name: value for name, value in zip(names, table.values, strict=True) if name.startswith("VLLM_")}


def choices_of(definition: ast.expr) -> list[str]:
    """Return the values that a definition accepts, or [] if it does not list them."""
    for node in ast.walk(definition):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "env_with_choices":
            return ast.literal_eval(node.args[2]) if isinstance(node.args[2], ast.List) else []
    return []


def main() -> None:
    files = SESSION.get(INDEX, headers={"Accept": "application/vnd.pypi.simple.v1+json"}, timeout=60).json()["files"]
    wheels = {match[1]: file for file in files if (match := WHEEL.fullmatch(file["filename"]))}
    versions = {release: tuple(map(int, release.split("."))) for release in wheels}
    releases = sorted((release for release in wheels if versions[release] >= OLDEST), key=versions.__getitem__)
    present: dict[str, list[str]] = collections.defaultdict(list)
    kinds: dict[str, set[str]] = collections.defaultdict(set)
    choices: dict[str, dict[str, list[str]]] = collections.defaultdict(dict)
    for release in releases:
        wheel = wheels[release]
        remote = io.BufferedReader(RemoteFile(wheel["url"], wheel["size"]), 2**21)
        with zipfile.ZipFile(t.cast("t.IO[bytes]", remote)) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.header_offset)
            sources = {m.filename: archive.read(m).decode() for m in members if m.filename.endswith(".py")}
        defined = definitions(sources["vllm/envs.py"])
        read = {name for source in sources.values() for match in READ.findall(source) for name in match if name}
        for name in sorted(defined.keys() | read):
            present[name].append(release)
        for name, definition in defined.items():
            text = ast.unparse(definition)
            kinds[name].add(next((kind for kind, pattern in CONVERSIONS.items() if pattern.search(text)), "names"))
            if accepted := choices_of(definition):
                choices[name][release] = accepted
    print_list("releases:", releases, 2)
    print("\nvariables:")
    spans: dict[tuple[int, int], dict[str, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for name, found in sorted(present.items()):
        (kind,) = kinds[name] if len(kinds[name]) == 1 else ("names",)
        spans[releases.index(found[0]), releases.index(found[-1])][kind].append(name)
    for (first, last), groups in sorted(spans.items()):
        print(f"  - first: {releases[first]}")
        if last + 1 < len(releases):
            print(f"    last: {releases[last]}")
        for kind, names in sorted(groups.items()):
            print_list(f"    {kind}:", names, 6)
    print("\nchoices:")
    for name, found in sorted(choices.items()):
        print(f"  {name}:\n    since: {next(iter(found))}")
        print_list("    values:", sorted({value.lower() for accepted in found.values() for value in accepted}), 6)


def print_list(key: str, items: t.Iterable[str], indent: int) -> None:
    """Print a YAML list, on one line if it fits in 120 columns. Numbers are quoted."""
    text = f"[{', '.join(repr(item) if item.isdigit() else item for item in items)}]"
    if len(key) + 1 + len(text) <= 120:
        print(key, text.replace("'", '"'))
        return
    space = " " * indent
    body = textwrap.fill(text, 120, initial_indent=space, subsequent_indent=space + " ", break_on_hyphens=False)
    print(f"{key}\n{body}")


if __name__ == "__main__":
    main()
