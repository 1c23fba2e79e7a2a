# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GPU host lacks: from its facts to the driver packages to install or remove, and whether to reboot. Pure.

Open kernel modules serve every GPU that Linode offers (Turing and newer; Blackwell has no others). They must never be
mixed with the proprietary ones. Source: NVIDIA's driver installation guide for Linux.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

#: Distribution and major version -> directory of NVIDIA's package repository.
REPOSITORIES: t.Final = {
    ("Ubuntu", "22.04"): "ubuntu2204",
    ("Ubuntu", "24.04"): "ubuntu2404",
    ("Debian", "12"): "debian12",
}
#: Linode's own images of distributions; the names of others (private/ID, linode/debian12-kube) do not tell enough.
_IMAGE: t.Final = re.compile(r"linode/(?P<name>[a-z-]+?)(?P<version>\d[\d.]*)")
#: First line of /proc/driver/nvidia/version.
_LOADED: t.Final = re.compile(r"NVRM version: NVIDIA UNIX (Open )?.*?(\d+)\.(\d[\d.]*)")
#: Packages that hold or pull in proprietary modules; the open ones have "open" in their names.
_PROPRIETARY: t.Final = re.compile(
    r"(cuda-drivers(-\d+)?|nvidia-driver(-\d+)?(-server)?|nvidia-dkms(-\d+)?(-server)?|nvidia-kernel-dkms|"
    r"nvidia-kernel-source(-\d+)?(-server)?|linux-modules-nvidia-\d+(?!.*open).*)"
)
_KERNEL_IMAGE: t.Final = re.compile(r"linux-image-(?:unsigned-)?(\d\S+)")


@dataclass
class HostPlan:
    """``driver``: ``right``, ``install`` or ``replace``. ``refused`` says why nothing may be done, with the way out."""

    driver: str = "right"
    loaded: str | None = None
    repository: str | None = None
    headers: str | None = None
    install: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    reboot_before: str | None = None
    reboot_after: str | None = None
    refused: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)


def image_error(image: str) -> str:
    """Why a Linode image cannot be prepared, empty where it can or where its name does not tell its distribution."""
    match = _IMAGE.fullmatch(image.strip().lower())
    if match is None or (match["name"].capitalize(), match["version"]) in REPOSITORIES:
        return ""
    known = ", ".join(f"linode/{name.lower()}{version}" for name, version in REPOSITORIES)
    return f"image {image!r} is not supported; the role knows {known}, and images of your own"


def host_plan(
    facts: Mapping[str, t.Any],
    packages: Iterable[str],
    driver_text: str,
    modules_text: str,
    branch: int,
    replace: bool = False,
) -> HostPlan:
    """What to do on a host.

    :param facts: ``distribution``, ``distribution_version``, ``kernel`` as Ansible gathers them.
    :param packages: names of the installed packages.
    :param driver_text: content of /proc/driver/nvidia/version, empty where there is none.
    :param modules_text: content of /proc/modules.
    :param branch: driver branch to run, such as 580.
    :param replace: whether a driver of another kind or branch may be removed.
    """
    installed = list(packages)
    loaded = _LOADED.search(driver_text)
    shown = f"{loaded[2]}.{loaded[3]} ({'open' if loaded[1] else 'proprietary'})" if loaded else None
    proprietary = sorted(name for name in installed if _PROPRIETARY.fullmatch(name))
    if loaded and loaded[1] and int(loaded[2]) == branch:
        return HostPlan(loaded=shown)
    plan = HostPlan(driver="install", loaded=shown)
    _distribution(plan, facts)
    _kernel(plan, str(facts["kernel"]), installed)
    if proprietary or loaded:
        _foreign(plan, loaded, proprietary, installed, branch, replace)
    plan.install = [f"nvidia-driver-pinning-{branch}", "nvidia-open"]
    old = {line.split()[0] for line in modules_text.splitlines() if line.strip()} & {"nvidia", "nouveau"}
    if old:
        plan.reboot_after = f"the module {', '.join(sorted(old))} is loaded and has to make room"
    return plan


def _distribution(plan: HostPlan, facts: Mapping[str, t.Any]) -> None:
    name, version = str(facts["distribution"]), str(facts["distribution_version"])
    key = (name, version if name == "Ubuntu" else version.partition(".")[0])
    plan.repository = REPOSITORIES.get(key)
    if plan.repository is None:
        known = ", ".join(" ".join(pair) for pair in REPOSITORIES)
        plan.refused.append(f"{name} {version} is not supported; the role knows {known}")


def _kernel(plan: HostPlan, running: str, installed: list[str]) -> None:
    if "linode" in running:
        plan.refused.append(
            f"kernel {running} is Linode's own, for which there are no headers: choose the kernel GRUB 2 in the "
            "configuration profile of the Linode and boot again"
        )
    plan.headers = f"linux-headers-{running}"
    images = [match[1] for name in installed if (match := _KERNEL_IMAGE.fullmatch(name))]
    newest = max(images, key=_natural, default=running)
    if images and _natural(newest) > _natural(running):
        plan.reboot_before = f"kernel {newest} is installed and {running} is running"
        plan.headers = f"linux-headers-{newest}"


def _foreign(
    plan: HostPlan,
    loaded: re.Match[str] | None,
    proprietary: list[str],
    installed: list[str],
    branch: int,
    replace: bool,
) -> None:
    """Another driver is there: never mixed with ours, removed only when asked."""
    plan.driver = "replace"
    plan.remove = proprietary
    if loaded and not proprietary and not any(name.startswith("nvidia-") for name in installed):
        plan.refused.append(
            f"driver {plan.loaded} was not installed from packages: remove it with nvidia-uninstall, then run again"
        )
    elif not replace:
        what = f"driver {plan.loaded} is loaded" if loaded else f"proprietary driver packages: {', '.join(proprietary)}"
        keep = f", or gpu_host_driver_branch: {loaded[2]} to keep it" if loaded and loaded[1] else ""
        plan.refused.append(
            f"{what}, and open modules of branch {branch} are wanted. "
            f"Set gpu_host_replace_driver: true to replace it{keep}, or gpu_host_driver: false to leave drivers alone"
        )


def _natural(version: str) -> list[tuple[int, int, str]]:
    """Sort key under which 6.1.0-9 comes before 6.1.0-30."""
    parts = re.findall(r"\d+|[a-z]+", version)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
