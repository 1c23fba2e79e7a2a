# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of role gpu_host."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.host import REPOSITORIES
from ansible_collections.multigpu.vllm.tests.support.role_contract import readme_row

ROLE = Path(__file__).parents[4] / "roles/gpu_host"


def load(path: str) -> t.Any:
    return yaml.safe_load((ROLE / path).read_text(encoding="utf-8"))


SPEC = load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
DEFAULTS = load("defaults/main.yml")
REQUIREMENTS = (ROLE.parents[1] / "requirements.txt").read_text("utf-8").splitlines()
PINNED = (ROLE.parents[1] / "constraints.txt").read_text("utf-8").splitlines()


def test_defaults_are_the_specified_options() -> None:
    assert load("defaults/main.yml") == {name: option.get("default") for name, option in SPEC.items()}


@pytest.mark.parametrize("name", SPEC)
def test_readme_describes_the_option(name: str) -> None:
    assert readme_row(name, SPEC[name]) in (ROLE / "README.md").read_text(encoding="utf-8").splitlines()


def test_python_packages_have_hashes_and_the_versions_of_the_tests() -> None:
    text = (ROLE / "files" / SPEC["gpu_host_python_requirements"]["default"]).read_text("utf-8")
    packages = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", "").splitlines()
    assert [len(re.findall(r"--hash=sha256:[0-9a-f]{64}(?= |$)", package)) for package in packages] == [
        1,
        11,
        1,
        1,
        1,
        1,
    ]
    pinned = {package.split()[0] for package in packages}
    assert pinned <= set(PINNED)
    installed = {package.split("==")[0] for package in pinned}
    assert installed & {re.split("[<>=]", line)[0] for line in REQUIREMENTS} == {"nvidia-ml-py", "requests"}


def test_pip_installs_packages_with_hashes_only() -> None:
    (pip,) = [task for task in load("tasks/python.yml") if "ansible.builtin.pip" in task]
    assert "--require-hashes" in pip["ansible.builtin.pip"]["extra_args"]


def test_checksum_and_key_of_package_repositories_are_verified() -> None:
    tasks = {task["name"]: task for task in load("tasks/driver.yml")}
    names = list(tasks)
    download = names.index("Download the package that adds NVIDIA's package repository")
    assert tasks[names[download]]["ansible.builtin.get_url"]["checksum"].startswith("sha256:{{ gpu_host_cuda_keyring_")
    assert download < names.index("Add NVIDIA's package repository")
    assert set(DEFAULTS["gpu_host_cuda_keyring_sha256"]) == {f"{name}/x86_64" for name in REPOSITORIES.values()}
    (block,) = [task["block"] for task in load("tasks/containers.yml") if "block" in task]
    (repository,) = [task for task in block if "ansible.builtin.deb822_repository" in task]
    signed_by = repository["ansible.builtin.deb822_repository"]["signed_by"]
    assert signed_by == "{{ _gpu_host_toolkit_key }} {{ gpu_host_container_toolkit_key_fingerprint }}"


def is_true(condition: str, **variables: t.Any) -> bool:
    own = {name: trust_as_template(text) for name, text in load("vars/main.yml").items() if isinstance(text, str)}
    lists = {name: value for name, value in load("vars/main.yml").items() if isinstance(value, list)}
    facts = {**own, **lists, "gpu_host_install_container_toolkit": "true", **variables}
    return t.cast(
        "bool", Templar(loader=DataLoader(), variables=facts).evaluate_conditional(trust_as_template(condition))
    )


@pytest.mark.parametrize(
    ("packages", "entry", "docker", "toolkit"),
    [
        ([], False, True, True),
        (["docker.io"], False, False, True),
        (["docker-ce", "nvidia-container-toolkit"], False, False, False),
        (["docker.io", "nvidia-container-toolkit"], True, False, True),
    ],
)
def test_docker_and_toolkit_of_the_image_are_kept(
    packages: list[str], entry: bool, docker: bool, toolkit: bool
) -> None:
    tasks = {task["name"]: task for task in load("tasks/containers.yml")}
    facts = {
        "ansible_facts": {"packages": {name: [] for name in packages}},
        "__gpu_host_toolkit_source": {"stat": {"exists": entry}},
    }
    assert is_true(tasks["Install Docker"]["when"], **facts) is docker
    assert is_true(tasks["Install the container toolkit"]["when"], **facts) is toolkit
    assert not is_true(
        tasks["Install the container toolkit"]["when"], **{**facts, "gpu_host_install_container_toolkit": "false"}
    )


@pytest.mark.parametrize("check", [True, False])
def test_check_mode_skips_packages_of_a_new_repository(check: bool) -> None:
    driver = {task["name"]: task for task in load("tasks/driver.yml")}
    (block,) = [task["block"] for task in load("tasks/containers.yml") if "block" in task]
    toolkit = {task["name"]: task for task in block}
    new, known, skipped = {"changed": True}, {"changed": False}, {"changed": False, "skipped": True}
    for keyring, wanted in ((new, not check), (known, True)):
        facts = {"ansible_check_mode": check, "__gpu_host_cuda_keyring": keyring}
        assert is_true(driver["Add NVIDIA's package repository"]["when"], **facts) is wanted
    for name in ("Pin the driver branch", "Install the open kernel modules"):
        for repository, wanted in ((new, not check), (known, True), (skipped, not check)):
            facts = {"ansible_check_mode": check, "__gpu_host_cuda_repository": repository}
            assert is_true(driver[name]["when"], **facts) is wanted
    for repository, wanted in ((new, not check), (known, True), (skipped, not check)):
        facts = {"ansible_check_mode": check, "__gpu_host_repository": repository}
        assert is_true(toolkit["Install the container toolkit's packages"]["when"], **facts) is wanted
    lacking = {"ansible_check_mode": check, "ansible_facts": {"packages": {}}}
    assert is_true(toolkit["Add the container toolkit's package repository"]["when"], **lacking) is not check


def test_preflight_only_reads() -> None:
    reading = {"check_options", "gpu_host_plan", "setup", "package_facts", "stat", "slurp", "fail", "import_tasks"}
    tasks = [task for file in ("preflight", "plan") for task in load(f"tasks/{file}.yml")]
    modules = {key.rpartition(".")[2] for task in tasks for key in task if "." in key}
    assert modules == reading


def test_upgrade_is_followed_by_a_new_plan_before_the_driver() -> None:
    upgrade, plan = load("tasks/upgrade.yml")
    assert upgrade["ansible.builtin.apt"] == {"update_cache": True, "upgrade": "dist"}
    assert plan["ansible.builtin.import_tasks"] == "plan.yml"
    files = [next(file for key, file in task.items() if key.endswith("_tasks")) for task in load("tasks/main.yml")]
    assert files[:3] == ["preflight.yml", "upgrade.yml", "driver.yml"]
