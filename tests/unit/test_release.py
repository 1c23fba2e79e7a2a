# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what scripts/release.sh refuses, and that the workflows use existing make targets and pinned actions."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import typing as t

import pytest
import yaml

ROOT: t.Final = pathlib.Path(__file__).resolve().parents[2]
WORKFLOWS: t.Final = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a git repository with the files that the script reads first."""
    for name in ("scripts/release.sh", "galaxy.yml", "changelogs/changelog.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def release(checkout: pathlib.Path) -> str:
    """Return the error of the script."""
    done = subprocess.run([checkout / "scripts/release.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert not (checkout / "dist").exists()
    return done.stderr


def commit(checkout: pathlib.Path) -> None:
    author = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", "add", "--all"], cwd=checkout, check=True)
    subprocess.run(["git", *author, "commit", "--quiet", "--message", "Add files"], cwd=checkout, check=True)


def test_release_refuses_uncommitted_changes(checkout: pathlib.Path) -> None:
    assert "uncommitted changes" in release(checkout)


def test_release_refuses_version_without_changelog(checkout: pathlib.Path) -> None:
    galaxy = checkout / "galaxy.yml"
    galaxy.write_text(re.sub(r"(?m)^version: .*", "version: 99.0.0", galaxy.read_text("utf-8")))
    commit(checkout)
    assert "no entry for 99.0.0" in release(checkout)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_runs_existing_make_targets(workflow: pathlib.Path) -> None:
    rules = re.findall(r"^([\w%. -]+):(?!=)", (ROOT / "Makefile").read_text("utf-8"), flags=re.M)
    patterns = [re.escape(target).replace("%", ".+") for rule in rules for target in rule.split()]
    text = workflow.read_text("utf-8")
    jobs = yaml.safe_load(text)["jobs"].values()
    targets = set(re.findall(r"\bmake ([\w.-]+)", re.sub("#.*", "", text)))
    targets |= {target for job in jobs for target in job.get("strategy", {}).get("matrix", {}).get("target", [])}
    assert targets
    assert {target for target in targets if not any(re.fullmatch(pattern, target) for pattern in patterns)} == set()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_pins_actions_to_commits(workflow: pathlib.Path) -> None:
    used = re.findall(r"uses: (\S+)", workflow.read_text("utf-8"))
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)] == []
