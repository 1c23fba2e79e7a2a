# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate the options for a Linode before any request is sent, and build the body of the creation request."""

from __future__ import annotations

import base64
import math
import re
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.credentials import check_key, password_problem
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput

Json = dict[str, t.Any]

#: Limits from Linode's API documentation: labels of instances (and VPCs) and firewalls, tags, user data and interfaces.
INSTANCE_LABEL_LENGTH: t.Final = (3, 64)
FIREWALL_LABEL_LENGTH: t.Final = (3, 32)
TAG_LENGTH: t.Final = (3, 50)
MAX_USER_DATA_BYTES: t.Final = 65_535
MAX_INTERFACES: t.Final = 3

_ID = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True, kw_only=True)
class InstanceRequest:
    """A validated request for a Linode.

    ``regions`` are tried in order; ``max_hourly_price`` is in USD; ``further`` has the keys of the request body that
    are not fields here. ``owner_tag``, which is one of the ``tags``, marks the Linodes of one fleet; ``creation_tag``
    marks the one that this run creates.
    Secrets are excluded from ``repr``.
    """

    label: str
    type: str
    regions: tuple[str, ...]
    image: str | None = None
    root_pass: str | None = field(default=None, repr=False)
    firewall_id: int | None = None
    vpc_subnet_id: int | None = None
    vpc_address: str | None = None
    tags: tuple[str, ...] = ()
    owner_tag: str | None = None
    creation_tag: str | None = None
    expected_gpus: int | None = None
    max_hourly_price: float | None = None
    further: Json = field(default_factory=dict, repr=False)

    def body(self, region: str) -> Json:
        """Return the JSON body for POST /linode/instances. Options that are not set are omitted."""
        names = ("label", "type", "image", "root_pass", "firewall_id")
        fields = {name: getattr(self, name) for name in names}
        tags = list(dict.fromkeys(filter(None, (*self.tags, self.creation_tag))))
        body = {**fields, "region": region, "tags": tags, **self.further}
        return {key: value for key, value in body.items() if value not in (None, [])}


def check_label(label: str, limits: tuple[int, int] = INSTANCE_LABEL_LENGTH) -> str:
    """Validate ``label`` and return it unchanged.

    :raises InvalidInput: if the API would refuse it.
    """
    shortest, longest = limits
    well_formed = re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]", label)
    if not well_formed or not shortest <= len(label) <= longest or re.search(r"--|__|\.\.", label):
        raise InvalidInput(
            f"label {label!r} is invalid: it must have {shortest} to {longest} letters, digits, '-', '_' or '.', start "
            "with a letter, end with a letter or digit, and not have two '-', '_' or '.' in a row."
        )
    return label


def check_group_label(label: str) -> str:
    """Validate the label of a group, which is the label of its VPC and the beginning of its Linodes' labels.

    :raises InvalidInput: if the API would refuse it.
    """
    if "_" in label or "." in label:
        raise InvalidInput(f"label {label!r} is invalid: the label of a VPC must not have '_' or '.'.")
    return check_label(label)


def instance_request(options: Mapping[str, t.Any], allow_no_login: bool = False) -> InstanceRequest:
    """Validate the options of a module and return a request for a Linode.

    ``allow_no_login``: accept an image without an SSH key, user or password, because the caller will set a password.

    :raises InvalidInput: with the first invalid value.
    """
    get = options.get
    user_data = get("user_data") or ""
    group = _check_positive("placement_group_id", get("placement_group_id"))
    subnet_id, address = _check_positive("vpc_subnet_id", get("vpc_subnet_id")), get("vpc_address") or None
    request = InstanceRequest(
        label=check_label(options["label"]),
        type=_check_id("type", (options["type"] or "").strip().lower(), "g2-gpu-rtx4000a4-m"),
        regions=_check_regions(options["region"] or ()),
        image=get("image") or None,
        root_pass=get("root_pass") or None,
        firewall_id=_check_positive("firewall_id", get("firewall_id")),
        vpc_subnet_id=subnet_id,
        vpc_address=address,
        tags=check_tags([*(get("tags") or ()), *filter(None, [get("owner_tag")])]),
        owner_tag=get("owner_tag") or None,
        creation_tag=check_tags([tag])[0] if (tag := get("creation_tag")) else None,
        expected_gpus=get("expected_gpus"),
        max_hourly_price=_check_positive("max_hourly_price", get("max_hourly_price")),
        further={
            "authorized_keys": [check_key(key) for key in get("authorized_keys") or ()],
            "authorized_users": get("authorized_users"),
            "metadata": {"user_data": base64.b64encode(user_data.encode()).decode()} if user_data else None,
            "interfaces": _interfaces(get("interfaces"), subnet_id, address),
            "placement_group": {"id": group} if group else None,
            "private_ip": get("private_ip") or None,
            "disk_encryption": get("disk_encryption"),
        },
    )
    _check_access(request, user_data, allow_no_login)
    return request


def check_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Validate ``tags`` and return them without duplicates.

    :raises InvalidInput: for a tag that the API would refuse.
    """
    shortest, longest = TAG_LENGTH
    for tag in tags:
        if not shortest <= len(tag) <= longest or "," in tag or tag != tag.strip():
            raise InvalidInput(f"tag {tag!r} is invalid: it must have {shortest} to {longest} characters, no commas.")
    return tuple(dict.fromkeys(tags))


def _check_access(request: InstanceRequest, user_data: str, allow_no_login: bool) -> None:
    if request.root_pass and (problem := password_problem(request.root_pass)):
        raise InvalidInput(f"root_pass would be refused by Linode: {problem}.")
    size = len(user_data.encode())
    if size > MAX_USER_DATA_BYTES:
        raise InvalidInput(f"user_data has {size} bytes; the maximum is {MAX_USER_DATA_BYTES}.")
    has_login = request.root_pass or any(request.further[name] for name in ("authorized_keys", "authorized_users"))
    if request.image and not has_login and not allow_no_login:
        raise InvalidInput(
            "The Linode would have no login: with image, set authorized_keys, authorized_users or root_pass, "
            "or let the module return a generated password (return_root_pass)."
        )
    if not request.image and (has_login or user_data):
        raise InvalidInput("authorized_keys, authorized_users, root_pass and user_data need an image.")
    if request.expected_gpus is not None and request.expected_gpus < 0:
        raise InvalidInput(f"expected_gpus must be 0 or more, got {request.expected_gpus}.")


def _check_id(name: str, value: str, example: str) -> str:
    if not _ID.fullmatch(value):
        raise InvalidInput(f"{name} {value!r} is not an id of the Linode API, for example {example}.")
    return value


def _check_regions(regions: Sequence[str]) -> tuple[str, ...]:
    if not regions:
        raise InvalidInput("region must list at least one region, for example us-ord.")
    return tuple(dict.fromkeys(_check_id("region", region, "us-ord") for region in regions))


def _check_positive(name: str, value: t.Any) -> t.Any:
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise InvalidInput(f"{name} must be finite and greater than 0, got {value}.")
    return value


def _interfaces(interfaces: Sequence[Json] | None, vpc_subnet_id: int | None, vpc_address: str | None) -> list[Json]:
    """Return the network interfaces in ``interfaces``, without keys that are not set.

    If ``vpc_subnet_id`` is set, return one interface in that subnet instead, with ``vpc_address`` if it is set.
    """
    if vpc_subnet_id:
        interface = {"purpose": "vpc", "subnet_id": vpc_subnet_id, "primary": True}
        return [{**interface, "ipv4": {"nat_1_1": "any", **({"vpc": vpc_address} if vpc_address else {})}}]
    if len(interfaces or ()) > MAX_INTERFACES:
        raise InvalidInput(f"interfaces has {len(interfaces or ())} entries; the maximum is {MAX_INTERFACES}.")
    return [_interface(interface) for interface in interfaces or ()]


def _interface(options: Json) -> Json:
    interface = {key: value for key, value in options.items() if value is not None}
    if interface["purpose"] == "vpc" and "subnet_id" not in interface:
        raise InvalidInput("An interface of purpose vpc needs subnet_id.")
    if interface["purpose"] == "vlan" and "label" not in interface:
        raise InvalidInput("An interface of purpose vlan needs label.")
    if "ipv4" in interface:
        interface["ipv4"] = {key: value for key, value in interface["ipv4"].items() if value is not None}
    return interface
