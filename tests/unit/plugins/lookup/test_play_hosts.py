# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.utils.context_objects import CLIArgs
from ansible_collections.multigpu.vllm.plugins.lookup import play_hosts as subject

ROOT = pathlib.Path(__file__).resolve().parents[4]
GROUPS = {"all": ["a", "b", "c"], "ungrouped": [], "gpu": ["a", "b"], "empty": []}
#: Playbooks that run on hosts of the user's inventory, and the variable that selects the hosts.
PLAYBOOKS = {
    "validate": "validate_hosts",
    "quick_check": "validate_hosts",
    "benchmark": "benchmark_hosts",
    "monitor": "monitor_hosts",
    "prepare": "vllm_hosts",
    "deploy": "vllm_hosts",
    "tune": "vllm_hosts",
    "logs": "vllm_hosts",
    "fix": "vllm_hosts",
}
FLEET = """
provision_fleet: [{name: a, count: 1, plan: g2-gpu-rtx4000a1-s, regions: [us-ord]}]
provision_authorized_users: [me]
provision_ssh_sources: [203.0.113.0/24]
"""


@pytest.mark.parametrize(
    ("pattern", "limit", "error"),
    [
        ("all", None, None),
        ("gpu:!a", None, None),
        ("localhost", None, None),
        ("gpu", "b,c", None),
        ("gpu", "c", "--limit c excludes all hosts that match 'gpu'."),
        ("nosuch", None, "No host of the inventory matches 'nosuch'."),
        ("empty", None, "No host of the inventory matches 'empty'."),
        ("", None, "No host of the inventory matches ''."),
    ],
)
def test_select_error_of_a_pattern(pattern: str, limit: str | None, error: str | None) -> None:
    assert subject.select(pattern, GROUPS, limit, DataLoader())[1] == error


def test_select_error_of_an_empty_inventory() -> None:
    assert "-i" in (subject.select("all", {"all": [], "ungrouped": []}, None, DataLoader())[1] or "")


def test_select_reads_limits_from_a_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "failed").write_text("c\n")
    assert "excludes" in (subject.select("gpu", GROUPS, f"@{tmp_path}/failed", DataLoader())[1] or "")


@pytest.mark.parametrize(
    ("playbook", "selected", "skipped", "error"),
    [
        ("tune", ["all"], [], None),
        ("tune", ["untagged"], [], None),
        ("tune", ["tuen"], [], "--tags tuen selects no task of tune.yml; it has no tags."),
        ("tune", ["all"], ["all"], "--skip-tags all skips all tasks of tune.yml."),
        ("deploy", ["restart"], [], None),
        (
            "deploy",
            ["strop"],
            [],
            "--tags strop selects no task of deploy.yml; its tags are stop, restart, show, restore.",
        ),
        ("validate", ["memory", "other"], [], None),
    ],
)
def test_tag_error_of_a_selection(playbook: str, selected: list[str], skipped: list[str], error: str | None) -> None:
    assert subject.tag_error(playbook, selected, skipped) == error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["playbooks/validate.yml"], True),
        (["multigpu.vllm.validate"], True),
        (["playbooks/site.yml"], False),
        (["multigpu.vllm.site", "multigpu.vllm.validate"], True),
        ([], False),
    ],
)
def test_started_itself_compares_the_command_line(
    arguments: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject.context, "CLIARGS", CLIArgs({"args": arguments}))
    assert subject.started_itself("validate") is expected


def test_tags_of_deploy_are_those_of_the_vllm_role() -> None:
    text = (ROOT / "roles/vllm/tasks/main.yml").read_text()
    assert set(re.findall(r"tags: \[never, (\w+)\]", text)) == set(subject.TAGS["deploy"]) - {"untagged"}


def test_tags_of_site_are_those_of_its_plays() -> None:
    text = (ROOT / "playbooks/site.yml").read_text()
    stages = set(re.findall(r"^  tags: \[(\w+)\]", text, re.M)) - {"always"}
    assert stages | set(subject.TAGS["deploy"]) - {"untagged"} == set(subject.TAGS["site"])


def run(playbook: str, *arguments: str) -> tuple[int, str]:
    """Run ansible-playbook, and return its exit status and the first line of its error."""
    argv = [sys.executable, "-m", "ansible", "playbook", str(ROOT / f"playbooks/{playbook}.yml"), *arguments]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, env=environment)
    errors = [line for line in done.stderr.splitlines() if "play_hosts' failed:" in line]
    return done.returncode, errors[0].partition("play_hosts' failed: ")[2] if errors else done.stdout + done.stderr


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_playbook_uses_the_lookup_with_its_own_name(playbook: str) -> None:
    lookup = f"lookup('multigpu.vllm.play_hosts', {PLAYBOOKS[playbook]} | default('all'), playbook='{playbook}')"
    assert f'  hosts: "{{{{ {lookup} }}}}"\n' in (ROOT / f"playbooks/{playbook}.yml").read_text()


@pytest.mark.parametrize(
    ("playbook", "arguments", "error"),
    [
        ("validate", ["-i", "EMPTY"], "The inventory contains no host. Specify an inventory with -i."),
        ("logs", ["-e", "vllm_hosts=nosuch"], "No host of the inventory matches 'nosuch'."),
        (
            "quick_check",
            ["--tags", "memroy"],
            "--tags memroy selects no task of quick_check.yml; its tags are hardware",
        ),
        ("site", ["--tags", "provison", "-e", "@FLEET"], "--tags provison selects no task of site.yml; its tags are"),
    ],
)
def test_playbook_that_would_run_nothing_fails(
    playbook: str, arguments: list[str], error: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "EMPTY").write_text("all: {}\n")
    (tmp_path / "FLEET").write_text(FLEET)
    status, message = run(playbook, *(re.sub("EMPTY|FLEET", rf"{tmp_path}/\g<0>", text) for text in arguments))
    assert message.startswith(error), message
    assert status != 0


def test_playbook_syntax_check_needs_no_inventory() -> None:
    assert run("validate", "--syntax-check", "-i", "/dev/null")[0] == 0


def test_lookup_returns_a_pattern_that_matches_nothing_on_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.context, "CLIARGS", CLIArgs({"args": ["validate.yml"]}))
    lookup: t.Any = subject.LookupModule()
    lookup.set_options = lambda **_options: None
    assert lookup.run([subject.NO_HOSTS], {"groups": {"all": []}}, playbook="validate") == [subject.NO_HOSTS]


def look_up(playbook: str, hostvars: dict[str, t.Any] | None, **options: t.Any) -> list[t.Any]:
    variables: dict[str, t.Any] = {"groups": GROUPS} | ({} if hostvars is None else {"hostvars": hostvars})
    lookup: t.Any = subject.LookupModule(DataLoader())
    lookup.set_options = lambda **_options: None
    lookup.get_option = {"playbook": playbook, "max_unavailable": None, **options}.get
    return t.cast("list[t.Any]", lookup.run(["all"], variables))


ALONE: t.Final[dict[str, t.Any]] = {"a": {}, "b": {}, "c": {}}
GROUPED: t.Final = {**ALONE, "a": {"vllm_group": "x"}, "c": {"vllm_group": "x"}}


@pytest.mark.parametrize(
    ("playbook", "hostvars", "hosts", "batches"),
    [
        ("deploy", GROUPED, ["a", "c", "b"], [2, 1]),
        ("deploy", ALONE, ["all"], [1]),
        # Before the first play, and in a playbook that does not change servers in batches.
        ("deploy", None, ["all"], [1]),
        ("validate", GROUPED, ["all"], [1]),
    ],
)
def test_lookup_keeps_the_hosts_of_a_group_together(
    playbook: str, hostvars: dict[str, t.Any] | None, hosts: list[str], batches: list[int]
) -> None:
    assert look_up(playbook, hostvars) == hosts
    assert look_up(playbook, hostvars, max_unavailable=1) == batches
