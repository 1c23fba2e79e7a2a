# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the fields that this collection reads from responses of the Linode API, and find fields of another type.

A shape is a :class:`Value`, a list with the shape of all entries, or a dictionary with the shape of each key. A key
that ends with ``?`` may be missing or null. Other keys of the response are ignored. Source: Linode's OpenAPI document.
"""

from __future__ import annotations

import functools
import ipaddress
import math
import operator
import reprlib
import typing as t
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Shape = dict[str, t.Any]

#: Largest number of pages of a list. With more, the response is not from the API: a page has up to 500 entries.
MAX_PAGES: t.Final = 100


@dataclass(frozen=True)
class Value:
    """A valid value: its description for messages, and a function that returns whether a value is valid."""

    description: str
    is_valid: Callable[[t.Any], bool]


def only(shape: Shape, **expected: str | int) -> Shape:
    """Return ``shape`` with the only valid values of some keys, for example the ID in the request."""
    exact = {key: Value(repr(value), functools.partial(operator.eq, value)) for key, value in expected.items()}
    return {**shape, **exact}


def page_of(entry: Shape) -> Shape:
    """Return the shape of one page of a list whose entries have the shape ``entry``."""
    return {"data": [entry], "pages": PAGES}


def _is_address(value: t.Any) -> bool:
    try:
        return isinstance(value, str) and bool(ipaddress.ip_interface(value))
    except ValueError:
        return False


def _is_integer(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


TEXT: t.Final = Value("a string", lambda value: isinstance(value, str))
#: Names are printed on terminals and written to inventories, so control characters are invalid.
NAME: t.Final = Value("a printable string", lambda value: isinstance(value, str) and value.isprintable())
ID: t.Final = Value("an integer greater than 0", lambda value: _is_integer(value) and value > 0)
COUNT: t.Final = Value("an integer of 0 or more", lambda value: _is_integer(value) and value >= 0)
PAGES: t.Final = Value(f"an integer from 0 to {MAX_PAGES}", lambda value: COUNT.is_valid(value) and value <= MAX_PAGES)
PRICE: t.Final = Value("a number of 0 or more", lambda value: type(value) in (int, float) and 0 <= value < math.inf)
ADDRESS: t.Final = Value("an IP address", _is_address)

PLAN: t.Final = {
    "id": NAME,
    "gpus?": COUNT,
    "network_out?": COUNT,
    "price?": {"hourly?": PRICE},
    "region_prices?": [{"id": NAME, "hourly?": PRICE}],
}
INSTANCE: t.Final = {
    "id": ID,
    "label": NAME,
    "type": NAME,
    "region": NAME,
    "image?": NAME,
    "status": NAME,
    "ipv4?": [ADDRESS],
    "ipv6?": ADDRESS,
    "tags": [TEXT],
    "specs?": {"gpus?": COUNT},
}
_RULE: t.Final = {
    **{f"{key}?": TEXT for key in ("label", "action", "protocol", "ports")},
    "addresses?": {"ipv4?": [TEXT], "ipv6?": [TEXT]},
}
FIREWALL: t.Final = {
    "id": ID,
    "label": NAME,
    "status?": NAME,
    "tags": [TEXT],
    "rules?": {"inbound_policy?": TEXT, "outbound_policy?": TEXT, "inbound?": [_RULE], "outbound?": [_RULE]},
}
VPC: t.Final = {
    "id": ID,
    "label": NAME,
    "region": NAME,
    "description?": TEXT,
    "subnets": [{"id": ID, "ipv4?": ADDRESS, "linodes?": [{"id": ID}]}],
}
PLACEMENT_GROUP: t.Final = {"id": ID, "label": NAME, "placement_group_type": NAME, "members?": [{"linode_id": ID}]}
VPC_ADDRESS: t.Final = {"linode_id?": ID, "subnet_id?": ID, "address?": ADDRESS}
DEVICE: t.Final = {"id": ID, "entity": {"id": ID, "label?": NAME}}


def mismatches(value: t.Any, shape: t.Any, path: str = "") -> Iterator[str]:
    """Yield a sentence for each field of ``value`` that does not have its shape, with the path of the field."""
    if isinstance(shape, dict) and isinstance(value, dict):
        for key, inner in shape.items():
            name = key.rstrip("?")
            if name == key or value.get(name) is not None:
                yield from mismatches(value.get(name), inner, f"{path}.{name}" if path else name)
    elif isinstance(shape, list) and isinstance(value, list):
        for number, entry in enumerate(value):
            yield from mismatches(entry, shape[0], f"{path}[{number}]")
    elif isinstance(shape, Value):
        if not shape.is_valid(value):
            yield f"{path} must be {shape.description}, got {reprlib.repr(value)}"
    else:
        yield f"{path} must be {'an object' if isinstance(shape, dict) else 'a list'}, got {reprlib.repr(value)}"
