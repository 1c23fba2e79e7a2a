# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether ``p2p_check`` tests again or returns the result of an earlier test."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.peer import stored

GOOD = {**stored.without_test("x"), "verdict": "pass", "findings": [{"summary": "right"}]}
BAD = {**GOOD, "verdict": "hangs", "settings": {"environment": {}, "arguments": ["--disable-custom-all-reduce"]}}


class Node(Commands):
    """A node with four GPUs, as the driver and Docker describe it."""

    backend = "nvml"
    used = 5
    processes: list[dict[str, t.Any]] | None = []

    def __init__(self, driver: str = "580.1", image: str = "sha256:a", busy: tuple[int, ...] = ()) -> None:
        self.driver, self.image, self.busy = driver, image, busy

    def run(self, argv: t.Sequence[str], timeout: float = 30) -> tuple[int, str]:
        assert argv[:3] == ["docker", "image", "inspect"]
        return 0, self.image

    def versions(self) -> dict[str, str]:
        return {"driver_version": self.driver}

    def devices(self, _subsets: t.Collection[str]) -> list[dict[str, t.Any]]:
        vllm = [{"pid": 7, "name": "VLLM::Worker_TP0", "memory_used": 1}]
        return [
            {
                "index": at,
                "uuid": f"GPU-{at}",
                "processes": vllm if at in self.busy else self.processes,
                "memory_used": self.used,
                "memory_total": 1000,
            }
            for at in range(4)
        ]

    def close(self) -> None:
        pass


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, t.Any]]:
    """Return a function that asks for the result on a node, and stores it as role vllm does."""
    file = tmp_path / "peer-data.json"

    def result_of(answer: dict[str, t.Any], node: Node, **options: t.Any) -> dict[str, t.Any]:
        monkeypatch.setattr(stored, "run", lambda _options, _commands: answer)
        options = {"gpus": [0, 1, 2, 3], "image": "v", "test": "auto", "result_file": str(file), **options}
        result = stored.result_of(options, node, lambda: node)
        if not result["stored"] and result["verdict"] != "not_tested":
            file.write_text(json.dumps({**result, "changed": False}), encoding="utf-8")
        return result

    return result_of


@pytest.mark.parametrize(
    ("node", "options", "again"),
    [
        (Node(), {}, False),
        (Node(busy=(0,)), {}, False),
        (Node(), {"image": None}, False),
        (Node(), {"test": "always"}, True),
        (Node(image="sha256:b"), {}, True),
        (Node(driver="590.1"), {}, True),
        (Node(), {"gpus": [0, 1]}, True),
    ],
)
def test_result_is_that_of_the_last_test_under_the_same_conditions(
    ask: Callable[..., dict[str, t.Any]], node: Node, options: dict[str, t.Any], again: bool
) -> None:
    first = ask(GOOD, Node())
    assert (first["stored"], first["verdict"]) == (False, "pass")
    second = ask(BAD, node, **options)
    assert (second["stored"], second["verdict"]) == ((False, "hangs") if again else (True, "pass"))
    if not again:
        assert second["tested"] == first["tested"]


@pytest.mark.parametrize(("mode", "reason"), [("auto", "GPU 2 by VLLM::Worker_TP0"), ("never", "no stored result")])
def test_result_of_gpus_in_use_is_not_tested(ask: Callable[..., dict[str, t.Any]], mode: str, reason: str) -> None:
    result = ask(GOOD, Node(busy=(2,)), test=mode)
    assert (result["verdict"], result["pairs"]) == ("not_tested", [])
    assert reason in result["findings"][0]["summary"]


@pytest.mark.parametrize(("used", "verdict"), [(5, "pass"), (900, "not_tested"), (None, "pass")])
@pytest.mark.parametrize("processes", [[], None])
def test_gpus_without_visible_programs_are_free_if_their_memory_is(
    ask: Callable[..., dict[str, t.Any]], used: int | None, verdict: str, processes: list[t.Any] | None
) -> None:
    node = Node()
    node.used, node.processes = used, processes
    result = ask(GOOD, node)
    assert result["verdict"] == verdict
    assert ("90 % of its memory" in result["findings"][0]["summary"]) is (verdict == "not_tested")


def test_only_the_tested_gpus_must_be_free(ask: Callable[..., dict[str, t.Any]]) -> None:
    assert ask(GOOD, Node(busy=(2,)), gpus=[0, 1])["verdict"] == "pass"


@pytest.mark.parametrize(
    ("old", "gpus", "verdict"),
    [(BAD, [0, 1, 2], "hangs"), (BAD, [0], "not_tested"), (GOOD, [0, 1, 2], "not_tested")],
)
def test_stored_fault_stays_until_its_gpus_are_tested_again(
    ask: Callable[..., dict[str, t.Any]], old: dict[str, t.Any], gpus: list[int], verdict: str
) -> None:
    ask(old, Node())
    busy = Node(driver="590.1", image="sha256:b", busy=(0,))
    assert ask(GOOD, busy, gpus=gpus)["verdict"] == verdict
    assert ask(GOOD, Node(driver="590.1"), gpus=gpus)["verdict"] == "pass"


def test_stored_result_does_not_answer_for_unknown_gpus(ask: Callable[..., dict[str, t.Any]], tmp_path: Path) -> None:
    def no_driver() -> t.NoReturn:
        raise GpuUnavailable("no_driver", "")

    ask(GOOD, Node())
    options = {"gpus": [0, 1, 2, 3], "image": None, "test": "never", "result_file": str(tmp_path / "peer-data.json")}
    assert stored.result_of(options, Node(), no_driver)["verdict"] == "not_tested"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tested": {}}'])
def test_damaged_file_is_no_result(text: str, tmp_path: Path) -> None:
    file = tmp_path / "peer-data.json"
    file.write_text(text, encoding="utf-8")
    assert stored.read(str(file)) is None
    assert stored.read(str(tmp_path / "missing")) is None


def test_image_without_docker_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert stored.image_id("v:1", Commands()) == "v:1"
