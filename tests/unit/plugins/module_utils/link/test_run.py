# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.link import measure, run
from ansible_collections.multigpu.vllm.plugins.module_utils.link.channel import LinkError

from .test_channel import free_port

NAMES = ("a", "b", "c")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SLOW_START", 0.02)
    monkeypatch.setattr(measure, "DATAGRAMS", 50)
    monkeypatch.setattr(measure, "_ROUND_TRIPS", 20)


def options(name: str, port: int, changes: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
    members = [
        {"name": item, "address": f"127.0.0.{number}", "takes_part": True} for number, item in enumerate(NAMES, start=1)
    ]
    return {
        "name": name,
        "members": members,
        "token": "secret",
        "interface": "lo",
        "port": port,
        "start_timeout": 20.0,
        "duration": 0.05,
        "limits": None,
    } | (changes or {})


def run_all(**changes: dict[str, t.Any]) -> dict[str, t.Any]:
    """Run the module's code for all members at the same time. ``changes``: options of a member that differ."""
    port, results = free_port(), {}
    threads = [
        threading.Thread(
            target=lambda name=name: results.update({name: run.run(options(name, port, changes.get(name)))}),
            daemon=True,
        )
        for name in NAMES
        if changes.get(name, {}) is not None  # None: the member is not there
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_run_measures_every_link_in_both_directions() -> None:
    results = run_all()
    assert {name: [link["peer"] for link in result["links"]] for name, result in results.items()} == {
        "a": ["b", "c"],
        "b": ["a", "c"],
        "c": ["a", "b"],
    }
    for result in results.values():
        assert result["interface"] == "lo"
        for link in result["links"]:
            assert (link["reason"], link["error"], link["port_error"], link["loss"]) == (None, None, None, 0.0)
            assert link["mtu"] == link["peer_mtu"] == link["path_mtu"]
            assert link["goodput"] > 0 and link["goodput_parallel"] > 0 and link["retransmits"] >= 0
            assert 0 < link["round_trip"]["p50"] <= link["round_trip"]["p99"]
    assert results["a"]["links"][0]["clock_offset"] == -results["b"]["links"][0]["clock_offset"]


def test_run_without_one_member_measures_the_others() -> None:
    results = run_all(a=None, b={"start_timeout": 2.0}, c={"start_timeout": 2.0})
    reasons = {name: [link["reason"] for link in result["links"]] for name, result in results.items()}
    assert reasons == {"b": ["refused", None], "c": ["refused", None]}
    assert results["b"]["links"][0]["status"] == "not_tested"


def test_run_member_with_another_token_is_not_measured() -> None:
    members = options("a", 0)["members"][:2]
    results = run_all(a={"members": members, "start_timeout": 3.0}, b={"members": members, "token": "other"}, c=None)
    assert {name: result["links"][0]["reason"] for name, result in results.items()} == {"a": "absent", "b": "lost"}


@pytest.mark.parametrize(
    ("change", "reason"), [({"takes_part": False}, "not_in_run"), ({"address": None}, "no_address")]
)
def test_run_names_members_that_cannot_take_part(change: dict[str, t.Any], reason: str) -> None:
    given = options("a", free_port())
    given["members"] = [given["members"][0], given["members"][1] | change]
    result = run.run(given)
    assert [(link["peer"], link["reason"]) for link in result["links"]] == [("b", reason)]
    assert {item["status"] for item in result["findings"] if item["check"] != "network.host_name"} == {"not_tested"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "x"}, "one must be x"),
        ({"members": None}, "members must"),
        ({"members": [{"name": "a", "address": None, "takes_part": True}]}, "a has no vllm_private_address"),
        ({"members": [{"name": "a", "address": "127.0.0.1", "takes_part": False}]}, "takes_part of a must be true"),
        ({"interface": None, "members": [{"name": "a", "address": "192.0.2.9", "takes_part": True}]}, "192.0.2.9"),
    ],
)
def test_run_host_that_cannot_take_part_is_an_error(changes: dict[str, t.Any], message: str) -> None:
    with pytest.raises(LinkError, match=message):
        run.run(options("a", free_port(), changes))


def test_slot_is_longer_than_all_measurements_of_a_pair() -> None:
    assert run.slot(1.0) > 4 * (measure.SLOW_START + 1.0) + measure._ROUND_TRIP_TIME
