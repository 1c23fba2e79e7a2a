# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of all pages exist; those of docs/guide.md are run by a test and print what the table says."""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shlex
import subprocess
import sys
import typing as t
from fnmatch import fnmatch

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.multigpu.vllm.plugins.lookup.play_hosts import TAGS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.option_limits import check_values
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import role_options
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import node_document, report_document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.text import report_text
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.emulated_node import EmulatedNode
from emulator.scenario import Scenario
from markdown_it import MarkdownIt

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: Scenarios whose reports have the lines of quick_check and validate in the tables.
SCENARIOS = ("healthy-tp4", "idle-gpus", "slow-interconnect", "sync-overhead", "unbalanced-memory")
RUN = {
    "time": "2026-11-23T17:00:00+00:00",
    "begin": "2026-11-23T16:55:00+00:00",
    "partial": ["quick check"],
    "collection_version": "0.1.0",
    "ansible_version": "2.19.4",
    "check_mode": False,
    "options": {},
}


#: The pages of the documentation site that are written by hand.
PAGES = sorted(path for glob in ("*.md", "docs/*.md", "roles/*/README.md") for path in ROOT.glob(glob))


class Row(t.NamedTuple):
    """A row of a table; all but ``guide`` and ``verdict`` are the texts in backquotes."""

    guide: str
    commands: list[str]
    prints: list[str]
    verdict: str
    tests: list[str]

    @property
    def playbooks(self) -> list[str]:
        return [shlex.split(command)[1].removeprefix("multigpu.vllm.") for command in self.commands]


def rows() -> list[Row]:
    lines = (ROOT / "docs/guide.md").read_text("utf-8").splitlines()
    table = [re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in lines if line.startswith("|")]
    code = [[re.findall("`([^`]+)`", cell.replace("\\|", "|")) for cell in cells] for cells in table]
    return [
        Row(cells[0], spans[1], spans[2], cells[3], spans[4])
        for cells, spans in zip(table, code, strict=True)
        if cells[1] not in ("Command", "---")
    ]


ROWS = rows()


def commands(program: str) -> list[str]:
    """Return the commands with this program in the examples and texts of all pages, without comments."""
    found = []
    for page in PAGES:
        for token in MarkdownIt().enable("table").parse(page.read_text("utf-8")):
            if token.type == "fence" and token.info in ("", "console"):
                found += token.content.replace("\\\n", " ").splitlines()
            found += [child.content for child in token.children or () if child.type == "code_inline"]
    # Without arguments, it is the name of the program.
    return sorted({line.partition("  #")[0].strip() for line in found if re.match(rf"(\w+=\S+ )?{program} ", line)})


def ansible_playbook_parser() -> argparse.ArgumentParser:
    """Return a parser for the options of ansible-playbook that the pages use."""
    parser = argparse.ArgumentParser()
    parser.add_argument("playbook")
    parser.add_argument("-e", action="append", default=[])
    parser.add_argument("--tags", default="")
    for name in ("-i", "--limit"):
        parser.add_argument(name)
    for name in ("--check", "--diff"):
        parser.add_argument(name, action="store_true")
    return parser


def play_files(playbook: str) -> list[pathlib.Path]:
    """Return the file of a playbook and those of the playbooks that it imports."""
    file = ROOT / f"playbooks/{playbook}.yml"
    imported = (play.get("ansible.builtin.import_playbook") for play in yaml.safe_load(file.read_text("utf-8")))
    return [file, *(path for name in imported if name for path in play_files(name.removesuffix(".yml")))]


def plain(text: str) -> str:
    """Return a text on one line, with ``#`` for each number."""
    return " ".join(re.sub(r"\d[\d.,]*", "#", text).split())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    hosts = {}
    for name in SCENARIOS:
        results = EmulatedNode(tmp_path_factory.mktemp(name), Scenario.load(name)).results()
        results["load"]["origin"] = 1795430701.9
        facts = NodeFacts.from_results(name, results)
        hosts[name] = node_document(facts, judge(facts))
    return plain(report_text(report_document(hosts, run=RUN), UNICODE))


def test_readme_links_the_tables() -> None:
    assert "(docs/guide.md)" in (ROOT / "README.md").read_text("utf-8")
    assert len(ROWS) >= 30
    assert [row.guide for row in ROWS if not re.match(r"(better: |equal|not covered: )", row.verdict)] == []


@pytest.mark.parametrize("command", commands("ansible-playbook"))
def test_command_has_known_options_with_valid_values(command: str) -> None:
    arguments = ansible_playbook_parser().parse_args(shlex.split(command)[1:])
    collection, _dot, playbook = arguments.playbook.rpartition(".")
    assert collection == "multigpu.vllm"
    texts = [file.read_text("utf-8") for file in play_files(playbook)]
    roles = set(re.findall(r"multigpu\.vllm\.(\w+)", " ".join(texts))) & {path.name for path in ROOT.glob("roles/*")}
    commented = set(re.findall(r"^#   (\w+)  ", texts[0], re.M))
    assert [tag for tag in arguments.tags.split(",") if tag and tag not in TAGS[playbook]] == []
    for setting in arguments.e:
        if setting.startswith("@"):
            continue
        variable, _equals, given = setting.partition("=")
        known = {role for role in roles if variable in role_options(role)}
        read = re.search(rf"\b{variable} \| default", " ".join(texts))
        assert known or variable in commented or read, f"{playbook} has no option {variable}"
        for role in known:
            assert check_values(role, {variable: given.split(",") if "," in given else given})[1] == []


@pytest.mark.parametrize("command", commands("make"))
def test_make_command_has_a_known_target(command: str) -> None:
    targets = re.findall(r"^([a-z%-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    words = [word for word in shlex.split(command) if "=" not in word]
    assert words[0] == "make"
    assert [word for word in words[1:] if not any(fnmatch(word, item.replace("%", "?*")) for item in targets)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_names_only_what_the_collection_contains(page: pathlib.Path) -> None:
    """Playbooks, roles, plugins and action groups by their full names, and files of the collection in commands."""
    names = {
        file.stem
        for glob in ("playbooks/*.yml", "roles/*", "plugins/*/*.*", "extensions/eda/rulebooks/*.yml")
        for file in ROOT.glob(glob)
    }
    names |= set(yaml.safe_load((ROOT / "meta/runtime.yml").read_text("utf-8"))["action_groups"])
    text = page.read_text("utf-8")
    assert set(re.findall(r"\bmultigpu\.vllm\.(\w+)", text)) - names == set()
    files = re.findall(r"(?:ansible_collections/multigpu/vllm/|pip install -r |-i (?=inventory/))([\w./]+)", text)
    assert [file for file in files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.guide)
def test_row_has_a_test_that_runs_the_playbook(row: Row) -> None:
    assert row.commands and row.prints and row.tests
    assert [path for path in row.tests if not (ROOT / path).is_file()] == []
    # The tests in tests/deployment run playbooks through this class, deploy by default.
    helper = (ROOT / "tests/deployment/node.py") if row.tests[0].startswith("tests/deployment/") else None
    text = "".join(path.read_text("utf-8") for path in (ROOT / row.tests[0], helper) if path)
    for playbook in row.playbooks:
        assert re.search(rf"multigpu\.vllm\.{playbook}\b|playbooks/{playbook}\.yml|[\"']{playbook}[\"']", text)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.guide)
def test_row_has_lines_that_are_printed(row: Row, report: str) -> None:
    asserted = "".join(plain((ROOT / path).read_text("utf-8")) for path in row.tests)
    assert [line for line in row.prints if plain(line) not in report + asserted] == []


def test_logs_explains_an_error_in_a_file_and_fix_refuses_without_a_deployment(tmp_path: pathlib.Path) -> None:
    """One run of both playbooks, on this machine."""
    error = "torch.OutOfMemoryError: CUDA out of memory."
    (tmp_path / "vllm.log").write_text(f"INFO vLLM API server version 0.32.0\n{error}\n", "utf-8")
    variables = {
        "ansible_become": False,
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "validate_log_paths": [str(tmp_path / "vllm.log")],
        "vllm_logs_part": "errors",
        "vllm_config_dir": str(tmp_path / "etc"),
    }
    inventory = yaml.safe_dump({"all": {"hosts": {"gpu-01": variables}}})
    (tmp_path / "hosts.yml").write_text(inventory, "utf-8")
    playbooks = [str(ROOT / f"playbooks/{name}.yml") for name in ("logs", "fix")]
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", *playbooks],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
    )
    shown = " ".join(done.stdout.split())
    assert done.returncode == 2
    assert "gpu-01: 1 line in" in shown
    assert "first error: GPU out of memory" in shown
    assert "No healthy server was deployed on gpu-01; run deploy first." in shown


def test_fix_checks_the_server_that_was_deployed() -> None:
    """The second play reads the URL from the file that the restart has registered."""
    restart = yaml.safe_load((ROOT / "roles/vllm/tasks/restart.yml").read_text("utf-8"))
    variables = yaml.safe_load((ROOT / "playbooks/fix.yml").read_text("utf-8"))[-1]["vars"]
    (register,) = {task["register"] for task in restart if "ansible.builtin.slurp" in task}
    healthy = {"content": "eyJiYXNlX3VybCI6ICJodHRwOi8vMTI3LjAuMC4xOjgwMDEifQ=="}
    templar = Templar(loader=DataLoader(), variables={register: healthy})
    assert templar.template(trust_as_template(variables["validate_base_url"])) == "http://127.0.0.1:8001"
