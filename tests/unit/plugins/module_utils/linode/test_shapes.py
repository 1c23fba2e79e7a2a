# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import shapes as subject

INSTANCE = {"id": 1, "label": "a", "type": "t", "region": "r", "status": "running", "tags": []}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"image": None, "ipv4": ["203.0.113.7"], "ipv6": "2001:db8::1/128", "tags": ["x"], "specs": {"gpus": 4}},
        {"ipv4": None, "ipv6": None, "specs": None, "unknown": float("nan")},
    ],
)
def test_mismatches_of_a_valid_object_are_none(more):
    assert list(subject.mismatches({**INSTANCE, **more}, subject.INSTANCE)) == []


@pytest.mark.parametrize(
    ("value", "shape", "expected"),
    [
        ({**INSTANCE, "id": None}, subject.INSTANCE, "id must be an integer greater than 0, got None"),
        ({**INSTANCE, "id": True}, subject.INSTANCE, "id must be an integer greater than 0, got True"),
        ({**INSTANCE, "label": "a\x1b[2J"}, subject.INSTANCE, r"label must be a printable string, got 'a\x1b[2J'"),
        ({**INSTANCE, "tags": None}, subject.INSTANCE, "tags must be a list, got None"),
        ({**INSTANCE, "ipv4": ["a"]}, subject.INSTANCE, "ipv4[0] must be an IP address, got 'a'"),
        ({**INSTANCE, "specs": [4]}, subject.INSTANCE, "specs must be an object, got [4]"),
        (INSTANCE, subject.only(subject.INSTANCE, id=2), "id must be 2, got 1"),
        (
            {"id": "p", "price": {"hourly": float("nan")}},
            subject.PLAN,
            "price.hourly must be a number of 0 or more, got nan",
        ),
        (
            {"id": "p", "price": {"hourly": "3.57"}},
            subject.PLAN,
            "price.hourly must be a number of 0 or more, got '3.57'",
        ),
        ({"data": None, "pages": 1}, subject.page_of({}), "data must be a list, got None"),
        ({"data": [{}, 5], "pages": 1}, subject.page_of({}), "data[1] must be an object, got 5"),
        ({"data": [], "pages": 101}, subject.page_of({}), "pages must be an integer from 0 to 100, got 101"),
    ],
)
def test_mismatches_name_field_expectation_and_value(value, shape, expected):
    assert list(subject.mismatches(value, shape)) == [expected]


def test_mismatches_show_large_values_briefly():
    (text,) = subject.mismatches({"data": {"x": "y" * 10_000}, "pages": 1}, subject.page_of({}))

    assert len(text) < 200


def test_mismatches_of_firewalls_reach_the_addresses_of_rules():
    firewall = {"id": 1, "label": "f", "tags": [], "rules": {"inbound": [{"addresses": {"ipv4": [5]}}]}}

    assert list(subject.mismatches(firewall, subject.FIREWALL)) == [
        "rules.inbound[0].addresses.ipv4[0] must be a string, got 5"
    ]
