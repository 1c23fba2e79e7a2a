# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the driver packages and reboots for a GPU host, based on its facts.

Open kernel modules support every GPU that Linode offers (Turing and newer; Blackwell requires them). They must not be
mixed with proprietary modules. Source: NVIDIA's driver installation guide for Linux.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: Distribution and major version -> directory of NVIDIA's package repository.
REPOSITORIES: t.Final = {
    ("Ubuntu", "22.04"): "ubuntu2204",
    ("Ubuntu", "24.04"): "ubuntu2404",
    ("Debian", "12"): "debian12",
}
#: Linode's plain distribution images. Other image names (private/ID, linode/debian12-kube) are not checked.
_IMAGE: t.Final = re.compile(r"linode/(?P<name>[a-z-]+?)(?P<version>\d[\d.]*)")
#: First line of /proc/driver/nvidia/version.
_LOADED: t.Final = re.compile(r"NVRM version: NVIDIA UNIX (Open )?.*?(\d+)\.(\d[\d.]*)")
#: Packages that contain or require proprietary modules; names of packages with open modules contain "open".
_PROPRIETARY: t.Final = re.compile(
    r"(cuda-drivers(-\d+)?|nvidia-driver(-\d+)?(-server)?|nvidia-dkms(-\d+)?(-server)?|nvidia-kernel-dkms|"
    r"nvidia-kernel-source(-\d+)?(-server)?|linux-modules-nvidia-\d+(?!.*open).*)"
)
_KERNEL_IMAGE: t.Final = re.compile(r"linux-image-(?:unsigned-)?(\d\S+)")


@dataclass
class HostPlan:
    """The plan for a GPU host: driver packages to install and remove, and the reasons for reboots.

    ``driver``: ``right``, ``install`` or ``replace``. ``refused``: errors, each with its solution; if there
    are any, the host must not be changed.
    """

    driver: str = "right"
    loaded: str | None = None
    repository: str | None = None
    headers: str | None = None
    install: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    reboot_before: str | None = None
    reboot_after: str | None = None
    refused: list[str] = field(default_factory=list)


def image_error(image: str) -> str:
    """Return an error message if a Linode image is known to be unsupported, otherwise an empty string."""
    match = _IMAGE.fullmatch(image.strip().lower())
    if match is None or (match["name"].capitalize(), match["version"]) in REPOSITORIES:
        return ""
    supported = ", ".join(f"linode/{name.lower()}{version}" for name, version in REPOSITORIES)
    return f"image {image!r} is not supported, must be one of {supported}, or a custom image"


def host_plan(
    facts: Mapping[str, str], installed: Sequence[str], driver_text: str, modules_text: str, branch: int, replace: bool
) -> HostPlan:
    """Return the driver packages and reboots that a GPU host needs.

    :param facts: ``distribution``, ``distribution_version`` and ``kernel``, as gathered by Ansible.
    :param installed: names of the installed packages.
    :param driver_text: content of /proc/driver/nvidia/version, empty if no driver is loaded.
    :param modules_text: content of /proc/modules.
    :param branch: driver branch to install, such as 580.
    :param replace: whether a proprietary driver, or one of another branch, may be removed.
    """
    loaded = _LOADED.search(driver_text)
    label = f"{loaded[2]}.{loaded[3]} ({'open' if loaded[1] else 'proprietary'})" if loaded else None
    proprietary = sorted(name for name in installed if _PROPRIETARY.fullmatch(name))
    if loaded and loaded[1] and int(loaded[2]) == branch:
        return HostPlan(loaded=label)
    plan = HostPlan(driver="install", loaded=label)
    _choose_repository(plan, facts)
    _choose_kernel(plan, facts["kernel"], installed)
    if proprietary or loaded:
        plan.driver, plan.remove = "replace", proprietary
        _check_replacement(plan, loaded, installed, branch, replace)
    plan.install = [f"nvidia-driver-pinning-{branch}", "nvidia-open"]
    old_modules = {line.split()[0] for line in modules_text.splitlines() if line.strip()} & {"nvidia", "nouveau"}
    if old_modules:
        plan.reboot_after = f"the kernel module {', '.join(sorted(old_modules))} is loaded and must be replaced"
    return plan


def _choose_repository(plan: HostPlan, facts: Mapping[str, str]) -> None:
    name, version = facts["distribution"], facts["distribution_version"]
    key = (name, version if name == "Ubuntu" else version.partition(".")[0])
    plan.repository = REPOSITORIES.get(key)
    if plan.repository is None:
        supported = ", ".join(" ".join(pair) for pair in REPOSITORIES)
        plan.refused.append(f"{name} {version} is not supported, must be one of {supported}")


def _choose_kernel(plan: HostPlan, running: str, installed: Sequence[str]) -> None:
    if "linode" in running:
        plan.refused.append(
            f"kernel {running} is a Linode kernel, which has no headers package: select the GRUB 2 kernel in the "
            "Linode's configuration profile and reboot"
        )
    images = [match[1] for name in installed if (match := _KERNEL_IMAGE.fullmatch(name))]
    newest = max([running, *images], key=_natural)
    if newest != running:
        plan.reboot_before = f"kernel {newest} is installed, but {running} is running"
    plan.headers = f"linux-headers-{newest}"


def _check_replacement(
    plan: HostPlan, loaded: re.Match[str] | None, installed: Sequence[str], branch: int, replace: bool
) -> None:
    """Add an error to ``plan`` if the current driver cannot be removed or must not be removed.

    A driver that was not installed from packages cannot be removed. If ``replace`` is false, no driver may be removed.
    """
    if loaded and not plan.remove and not any(name.startswith("nvidia-") for name in installed):
        plan.refused.append(
            f"driver {plan.loaded} was not installed from packages: remove it with nvidia-uninstall, then run again"
        )
    elif not replace:
        packages = f"proprietary driver packages are installed ({', '.join(plan.remove)})"
        driver = f"driver {plan.loaded} is loaded" if loaded else packages
        keep = f", gpu_host_driver_branch: {loaded[2]} to keep it" if loaded and loaded[1] else ""
        plan.refused.append(
            f"{driver}, but open modules of branch {branch} are required. "
            f"Set gpu_host_replace_driver: true to replace it{keep}, "
            "or gpu_host_install_driver: false to skip the driver"
        )


def _natural(version: str) -> list[tuple[int, int, str]]:
    """Return a sort key for kernel versions that puts 6.1.0-9 before 6.1.0-30."""
    parts = re.findall(r"\d+|[a-z]+", version)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
