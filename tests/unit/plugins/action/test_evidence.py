# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing the archive with evidence."""

from __future__ import annotations

import json
import tarfile
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action.evidence import ActionModule
from ansible_collections.multigpu.vllm.tests.support.peer_data import hanging
from ansible_collections.multigpu.vllm.tests.support.secret_forms import SECRET, TEXTS, planted

SMI = "Driver Version : 580.95.05\nGPU UUID : GPU-5e4aa0ae-4b7a-4b3e-8c10-3d9c2f0ab111\n"


@pytest.fixture
def options(tmp_path: Path) -> dict[str, t.Any]:
    return {
        "results": {"p2p_check": hanging(stored=True)},
        "texts": {"nvidia-smi": SMI, "driver": ""},
        "directory": str(tmp_path / "evidence"),
    }


def unpacked(path: str) -> dict[str, str]:
    """Return the text of each file of an archive."""
    with tarfile.open(path) as archive:
        return {
            member.name.removeprefix("evidence-node-01/"): t.cast(t.IO[bytes], archive.extractfile(member))
            .read()
            .decode()
            for member in archive.getmembers()
        }


def test_archive_has_results_texts_and_the_entry_of_the_node(
    run_action: t.Callable[..., dict], options: dict[str, t.Any], tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"run": {"time": "now"}, "hosts": {"node-01": {"status": "fail"}, "other": {}}}))
    result = run_action(ActionModule, {**options, "report": str(report)})
    assert result["files"] == ["nvidia-smi.txt", "p2p_check.json", "report.json"]
    files = unpacked(result["path"])
    assert sorted(files) == result["files"]
    assert files["nvidia-smi.txt"] == SMI
    assert json.loads(files["p2p_check.json"]) == options["results"]["p2p_check"]
    assert json.loads(files["report.json"]) == {"run": {"time": "now"}, "hosts": {"node-01": {"status": "fail"}}}
    modes = [path.stat().st_mode & 0o777 for path in (Path(result["path"]).parent, Path(result["path"]))]
    assert modes == [0o700, 0o600]


@pytest.mark.parametrize("text", [None, "", "{}", '{"run": {}, "hosts": {"other": {}}}'])
def test_archive_without_report_of_the_node_has_the_rest(
    run_action: t.Callable[..., dict], options: dict[str, t.Any], tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    result = run_action(ActionModule, {**options, "report": str(tmp_path / "report.json")})
    assert result["files"] == ["nvidia-smi.txt", "p2p_check.json"]


def test_archive_contains_no_secret(run_action: t.Callable[..., dict], options: dict[str, t.Any]) -> None:
    options["texts"]["kernel"] = "\n".join([*map(planted, TEXTS), "my own s3cret!"])
    lines = [{"line": planted(text)} for text in TEXTS]
    options["results"]["logs"] = {"findings": lines, "password": SECRET, "a": "s3cret!"}
    result = run_action(ActionModule, {**options, "secrets": ["s3cret!"]})
    text = "".join(unpacked(result["path"]).values())
    assert SECRET.lower() not in text.lower()
    assert "s3cret!" not in text
    assert "580.95.05" in text


def test_archive_is_not_written_in_check_mode(run_action: t.Callable[..., dict], options: dict[str, t.Any]) -> None:
    result = run_action(ActionModule, options, check_mode=True)
    assert not Path(result["path"]).exists()


def test_archive_that_cannot_be_written_is_an_error(
    run_action: t.Callable[..., dict], options: dict[str, t.Any], tmp_path: Path
) -> None:
    (tmp_path / "evidence").write_text("a file")
    with pytest.raises(AnsibleActionFail, match="cannot write"):
        run_action(ActionModule, options)
