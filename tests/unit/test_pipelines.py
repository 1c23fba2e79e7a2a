# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/pipelines.md: the pipelines run existing playbooks, fail with them, and keep the report in every case."""

from __future__ import annotations

import pathlib
import re
import shlex
import subprocess
import typing as t

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.plugin_utils.option_limits import check_values
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import role_options

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/pipelines.md").read_text("utf-8")
GITHUB, GITLAB = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
STEPS = GITHUB["jobs"]["gpu-nodes"]["steps"]
SCRIPTS = {
    **{step["name"]: step["run"] for step in STEPS if "run" in step},
    **{name: "\n".join(GITLAB[name]["script"]) for name in ("validate", "rollout")},
    "before_script": "\n".join(GITLAB["default"]["before_script"]),
}
COMMANDS = [shlex.split(line) for script in SCRIPTS.values() for line in script.splitlines()]
PLAYBOOKS = [command for command in COMMANDS if command[0] == "ansible-playbook"]
REPORTS = role_options("validate")["validate_report_dir"]["default"]


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_script_has_valid_syntax_and_hides_no_exit_code(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert re.findall(r"\|\||\bset \+e|;\s*true", script) == []
    assert re.findall("continue-on-error|allow_failure", PAGE) == []


@pytest.mark.parametrize("command", PLAYBOOKS, ids=" ".join)
def test_command_runs_a_playbook_with_valid_options(command: list[str]) -> None:
    playbook = command[1].removeprefix("multigpu.vllm.")
    text = (ROOT / f"playbooks/{playbook}.yml").read_text("utf-8")
    (role,) = set(re.findall(r"(?:role|name): multigpu\.vllm\.(\w+)", text))
    options = dict(zip(command[2::2], command[3::2], strict=True))
    assert options.pop("-i") in ("test.yml", "production.yml")
    for name, value in [setting.split("=") for option, setting in options.items() if option == "-e"]:
        assert name in role_options(role) or name in text
        assert check_values(role, {name: value.split(",")} if name in role_options(role) else {})[1] == []


def test_pipelines_run_the_same_playbooks() -> None:
    played = [command[1].rpartition(".")[2] for command in PLAYBOOKS]
    assert played == ["validate", "deploy", "quick_check"] * 2
    main_only: dict[str, t.Any] = {step["name"]: step.get("if") for step in STEPS if "name" in step}
    assert main_only["Deploy to production"] == "github.ref == 'refs/heads/main'"
    assert GITLAB["rollout"]["rules"] == [{"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"}]


def test_reports_and_junit_are_kept_after_a_failure() -> None:
    upload = STEPS[-1]
    assert (upload["if"], upload["with"]["path"]) == ("always()", REPORTS)
    artifacts = GITLAB["default"]["artifacts"]
    assert (artifacts["when"], artifacts["paths"]) == ("always", [REPORTS])
    assert artifacts["reports"]["junit"] == f"{REPORTS}/report.junit.xml"
    assert "`report.junit.xml`" in (ROOT / "docs/reports.md").read_text("utf-8")
    validations = [command for command in PLAYBOOKS if command[1].endswith(".validate")]
    assert [command for command in validations if "junit" not in command[-1].partition("=")[2].split(",")] == []


def test_pinned_packages_have_the_tested_versions() -> None:
    pins = {pin for command in COMMANDS for pin in command if "==" in pin}
    assert len(pins) == 2
    assert pins <= set((ROOT / "constraints.txt").read_text("utf-8").splitlines())
    core = yaml.safe_load((ROOT / "execution-environment.yml").read_text("utf-8"))["dependencies"]["ansible_core"]
    installs = [command for command in COMMANDS if command[0] == "pip"]
    assert [core["package_pip"] in command for command in installs] == [True, True]


def test_page_links_the_table_of_exit_codes() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    _before, section = readme.split("\n## Validate your nodes\n")
    assert "(../README.md#validate-your-nodes)" in PAGE
    assert "| exit code | meaning |" in section.split("\n## ")[0]
