# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GPU host lacks, from its facts alone."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.filter.gpu_host_plan import FilterModule
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.host import HostPlan, host_plan, image_error

OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder@U22)\nGCC version: 12"
PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Thu Jul 17 2026\nGCC version:  gcc version 12"
UBUNTU = {"distribution": "Ubuntu", "distribution_version": "24.04", "kernel": "6.8.0-60-generic"}
DEBIAN = {"distribution": "Debian", "distribution_version": "12.11", "kernel": "6.1.0-37-amd64"}


def planned(
    facts: dict[str, str] | None = None,
    packages: tuple[str, ...] = (),
    driver: str = "",
    modules: str = "",
    branch: int = 580,
    replace: bool = False,
) -> HostPlan:
    return host_plan(facts or UBUNTU, packages, driver, modules, branch, replace)


@pytest.mark.parametrize("packages", [(), ("nvidia-open", "nvidia-driver-580-open", "nvidia-dkms-580-open")])
def test_an_image_with_the_right_driver_is_left_alone(packages: tuple[str, ...]) -> None:
    plan = planned(packages=packages, driver=OPEN.format("580.82.07"), facts={**UBUNTU, "distribution": "Fedora"})
    assert plan == HostPlan(loaded="580.82.07 (open)")


@pytest.mark.parametrize(
    ("facts", "repository", "headers"),
    [(UBUNTU, "ubuntu2404", "linux-headers-6.8.0-60-generic"), (DEBIAN, "debian12", "linux-headers-6.1.0-37-amd64"),
     ({**UBUNTU, "distribution_version": "22.04"}, "ubuntu2204", "linux-headers-6.8.0-60-generic")],
)  # fmt: skip
def test_a_bare_host_gets_headers_and_the_held_open_modules(
    facts: dict[str, str], repository: str, headers: str
) -> None:
    plan = planned(facts)
    assert (plan.driver, plan.repository, plan.headers) == ("install", repository, headers)
    assert plan.install == ["nvidia-driver-pinning-580", "nvidia-open"]
    assert (plan.remove, plan.refused, plan.reboot_before, plan.reboot_after) == ([], [], None, None)


def test_a_module_in_the_way_needs_a_reboot() -> None:
    assert "nouveau" in (planned(modules="nouveau 2400256 0 - Live 0x0\next4 1 2 - Live").reboot_after or "")
    assert planned(modules="ext4 1 2 - Live 0x0\n").reboot_after is None


@pytest.mark.parametrize(
    ("images", "newest"),
    [(("linux-image-6.1.0-37-amd64", "linux-image-amd64"), None), (("linux-image-6.1.0-9-amd64",), None),
     (("linux-image-6.1.0-37-amd64", "linux-image-6.1.0-100-amd64"), "6.1.0-100-amd64"), ((), None)],
)  # fmt: skip
def test_a_newer_kernel_is_booted_first(images: tuple[str, ...], newest: str | None) -> None:
    plan = planned(DEBIAN, images)
    assert plan.headers == f"linux-headers-{newest or DEBIAN['kernel']}"
    assert (plan.reboot_before is None) is (newest is None)


@pytest.mark.parametrize(
    ("packages", "driver", "words"),
    [
        (("nvidia-driver-550", "nvidia-dkms-550"), PROPRIETARY.format("550.54.15"), "gpu_host_replace_driver: true"),
        (("cuda-drivers",), "", "proprietary driver packages: cuda-drivers"),
        (("nvidia-open",), OPEN.format("575.57.08"), "gpu_host_driver_branch: 575 to keep it"),
        ((), PROPRIETARY.format("580.82.07"), "nvidia-uninstall"),
    ],
)
def test_another_driver_is_refused_with_the_ways_out(packages: tuple[str, ...], driver: str, words: str) -> None:
    plan = planned(packages=packages, driver=driver)
    assert plan.driver == "replace"
    assert any(words in reason for reason in plan.refused)


def test_another_driver_is_removed_when_asked_and_open_packages_are_kept() -> None:
    packages = ("nvidia-driver-550", "nvidia-dkms-550", "nvidia-driver-580-open", "nvidia-settings")
    plan = planned(packages=packages, driver=PROPRIETARY.format("550.54.15"), modules="nvidia 1 0", replace=True)
    assert plan.refused == []
    assert plan.remove == ["nvidia-dkms-550", "nvidia-driver-550"]
    assert plan.reboot_after is not None


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({**DEBIAN, "kernel": "6.14.3-x86_64-linode168"}, "GRUB 2"),
        ({**UBUNTU, "distribution": "Rocky"}, "Ubuntu 22.04, "),
    ],
)
def test_a_host_that_cannot_have_the_driver_says_why(facts: dict[str, str], words: str) -> None:
    assert any(words in reason for reason in planned(facts).refused)


def test_the_filter_gives_plain_data() -> None:
    plan: dict[str, t.Any] = FilterModule().filters()["gpu_host_plan"](UBUNTU, [], branch="575")
    assert plan["install"] == ["nvidia-driver-pinning-575", "nvidia-open"]


@pytest.mark.parametrize(
    "image", ["linode/ubuntu24.04", "linode/ubuntu22.04", "linode/debian12", "private/123", "linode/debian12-kube-v1"]
)
def test_an_image_that_the_role_knows_or_cannot_tell_is_no_error(image: str) -> None:
    assert image_error(image) == ""


@pytest.mark.parametrize("image", ["linode/debian11", "linode/ubuntu20.04", "linode/rocky9", "linode/ubuntu25.10"])
def test_an_image_of_another_distribution_is_refused_with_those_that_work(image: str) -> None:
    told = image_error(image)
    assert repr(image) in told
    assert "linode/debian12" in told
    assert FilterModule().filters()["gpu_host_image_error"](image) == told
