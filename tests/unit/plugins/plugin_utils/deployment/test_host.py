# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the plan of a GPU host: driver packages and reboots from its facts."""

from __future__ import annotations

import pytest
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
def test_host_plan_with_the_right_driver_is_empty(packages: tuple[str, ...]) -> None:
    plan = planned(packages=packages, driver=OPEN.format("580.82.07"), facts={**UBUNTU, "distribution": "Fedora"})
    assert plan == HostPlan(loaded="580.82.07 (open)")


@pytest.mark.parametrize(
    ("facts", "repository", "headers"),
    [(UBUNTU, "ubuntu2404", "linux-headers-6.8.0-60-generic"), (DEBIAN, "debian12", "linux-headers-6.1.0-37-amd64"),
     ({**UBUNTU, "distribution_version": "22.04"}, "ubuntu2204", "linux-headers-6.8.0-60-generic")],
)  # fmt: skip
def test_host_plan_of_a_bare_host_installs_headers_and_open_modules(
    facts: dict[str, str], repository: str, headers: str
) -> None:
    plan = planned(facts)
    assert (plan.driver, plan.repository, plan.headers) == ("install", repository, headers)
    assert plan.install == ["nvidia-driver-pinning-580", "nvidia-open"]
    assert (plan.remove, plan.refused, plan.reboot_before, plan.reboot_after) == ([], [], None, None)


def test_host_plan_reboots_if_another_module_is_loaded() -> None:
    assert "nouveau" in (planned(modules="nouveau 2400256 0 - Live 0x0\next4 1 2 - Live").reboot_after or "")
    assert planned(modules="ext4 1 2 - Live 0x0\n").reboot_after is None


@pytest.mark.parametrize(
    ("images", "newest"),
    [(("linux-image-6.1.0-37-amd64", "linux-image-amd64"), None), (("linux-image-6.1.0-9-amd64",), None),
     (("linux-image-6.1.0-37-amd64", "linux-image-6.1.0-100-amd64"), "6.1.0-100-amd64"), ((), None)],
)  # fmt: skip
def test_host_plan_reboots_first_into_a_newer_kernel(images: tuple[str, ...], newest: str | None) -> None:
    plan = planned(DEBIAN, images)
    assert plan.headers == f"linux-headers-{newest or DEBIAN['kernel']}"
    assert (plan.reboot_before is None) is (newest is None)


@pytest.mark.parametrize(
    ("packages", "driver", "text"),
    [
        (("nvidia-driver-550", "nvidia-dkms-550"), PROPRIETARY.format("550.54.15"), "gpu_host_replace_driver: true"),
        (("cuda-drivers",), "", "proprietary driver packages are installed (cuda-drivers)"),
        (("nvidia-open",), OPEN.format("575.57.08"), "gpu_host_driver_branch: 575 to keep it"),
        ((), PROPRIETARY.format("580.82.07"), "nvidia-uninstall"),
    ],
)
def test_host_plan_refuses_another_driver_with_solutions(packages: tuple[str, ...], driver: str, text: str) -> None:
    plan = planned(packages=packages, driver=driver)
    assert plan.driver == "replace"
    assert any(text in reason for reason in plan.refused)


def test_host_plan_replace_removes_only_proprietary_packages() -> None:
    packages = ("nvidia-driver-550", "nvidia-dkms-550", "nvidia-driver-580-open", "nvidia-settings")
    plan = planned(packages=packages, driver=PROPRIETARY.format("550.54.15"), modules="nvidia 1 0", replace=True)
    assert plan.refused == []
    assert plan.remove == ["nvidia-dkms-550", "nvidia-driver-550"]
    assert plan.reboot_after is not None


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({**DEBIAN, "kernel": "6.14.3-x86_64-linode168"}, "GRUB 2"),
        ({**UBUNTU, "distribution": "Rocky"}, "Ubuntu 22.04, "),
    ],
)
def test_host_plan_refuses_unsupported_kernel_and_distribution(facts: dict[str, str], text: str) -> None:
    assert any(text in reason for reason in planned(facts).refused)


def test_host_plan_installs_the_requested_branch() -> None:
    assert planned(branch=575).install == ["nvidia-driver-pinning-575", "nvidia-open"]


@pytest.mark.parametrize(
    "image", ["linode/ubuntu24.04", "linode/ubuntu22.04", "linode/debian12", "private/123", "linode/debian12-kube-v1"]
)
def test_image_error_is_empty_for_supported_and_custom_images(image: str) -> None:
    assert image_error(image) == ""


@pytest.mark.parametrize("image", ["linode/debian11", "linode/ubuntu20.04", "linode/rocky9", "linode/ubuntu25.10"])
def test_image_error_of_another_distribution_names_the_supported_ones(image: str) -> None:
    error = image_error(image)
    assert repr(image) in error
    assert "linode/debian12" in error
