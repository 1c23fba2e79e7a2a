# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test where reports are written, which earlier one is found, and which ones are deleted."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.history import kept_reports

AREAS = ("hardware", "performance")
DATES = [f"2026-11-{day:02}T10:00:00+00:00" for day in (1, 2, 3)]


def node(*areas: str, errors: t.Sequence[str] = ()) -> dict[str, t.Any]:
    sections = [{"area": area, "selected": area in (areas or AREAS)} for area in AREAS]
    return {"errors": list(errors), "sections": sections}


def write(folder: Path, begin: str, hosts: dict[str, t.Any], partial: t.Sequence[str] = ()) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    run = {"time": begin, "begin": begin, "partial": list(partial)}
    (folder / "report.json").write_text(json.dumps({"run": run, "hosts": hosts}), encoding="utf-8")


@pytest.mark.parametrize(
    ("existing", "partial", "keep", "expected"),
    [
        (None, False, 3, ["", "2026-11-03T100000Z"]),
        (None, True, 3, ["", "2026-11-03T100000Z"]),
        ([], False, 3, ["", "2026-11-03T100000Z"]),
        ([], True, 3, ["2026-11-03T100000Z"]),
        (["quick check"], True, 3, ["", "2026-11-03T100000Z"]),
        ([], False, 0, [""]),
        ([], True, 0, ["partial"]),
    ],
)
def test_places_of_a_partial_run_never_include_a_full_report(
    tmp_path: Path, existing: list[str] | None, partial: bool, keep: int, expected: list[str]
) -> None:
    if existing is not None:
        write(tmp_path, DATES[0], {}, existing)
    places = kept_reports.places(tmp_path, DATES[2], partial=partial, keep=keep)
    assert places == [tmp_path / name for name in expected]


def test_places_of_runs_in_the_same_second_differ(tmp_path: Path) -> None:
    for name in ("2026-11-03T100000Z", "2026-11-03T100000Z-2", "2026-11-03T100000Z-3"):
        place = kept_reports.places(tmp_path, DATES[2], partial=False, keep=2)[-1]
        assert place == tmp_path / name
        write(place, DATES[2], {})
    kept_reports.prune(tmp_path, 2, ["report.json"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2026-11-03T100000Z-2", "2026-11-03T100000Z-3"]


def test_places_with_a_damaged_report_replace_it(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"run": {"time"', encoding="utf-8")
    assert kept_reports.places(tmp_path, DATES[2], partial=True, keep=0) == [tmp_path]


def test_earlier_finds_the_last_complete_report_on_each_node(tmp_path: Path) -> None:
    write(tmp_path / kept_reports.stamp(DATES[0]), DATES[0], {"a": node(), "b": node(), "c": node()})
    write(
        tmp_path / kept_reports.stamp(DATES[1]),
        DATES[1],
        {"a": node(), "b": node(errors=["lost"]), "c": node("hardware")},
    )
    found = kept_reports.earlier(
        tmp_path, DATES[2], {"a": node(), "b": node(), "c": node(), "new": node(), "lost": None}
    )
    assert {name: time for name, (time, _entry) in found.items()} == {"a": DATES[1], "b": DATES[0], "c": DATES[0]}
    found = kept_reports.earlier(tmp_path, DATES[2], {"c": node("hardware")})
    assert found["c"][0] == DATES[1], "a report with the same sections is enough"


def test_earlier_ignores_the_report_of_the_same_run_and_damaged_ones(tmp_path: Path) -> None:
    write(tmp_path, DATES[0], {"a": node()})
    write(tmp_path / kept_reports.stamp(DATES[2]), DATES[2], {"a": node()})
    damaged = tmp_path / kept_reports.stamp(DATES[1])
    for text in ("{", "[]", '{"run": {"time": 1}, "hosts": {}}', '{"run": {"time": "x"}, "hosts": {"a": 1}}'):
        damaged.mkdir(exist_ok=True)
        (damaged / "report.json").write_text(text, encoding="utf-8")
        assert kept_reports.earlier(tmp_path, DATES[2], {"a": node()})["a"][0] == DATES[0]
    assert kept_reports.earlier(tmp_path / "none", DATES[2], {"a": node()}) == {}


def test_prune_deletes_only_report_files_of_old_runs(tmp_path: Path) -> None:
    folders = [tmp_path / kept_reports.stamp(date) for date in DATES]
    for folder, date in zip(folders, DATES, strict=True):
        write(folder, date, {})
    write(tmp_path / "mine", DATES[0], {})
    (folders[1] / "notes.txt").write_text("keep me", encoding="utf-8")
    kept_reports.prune(tmp_path, 1, ["report.json", "report.html"])
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == [f"{folders[1].name}/notes.txt", f"{folders[2].name}/report.json", "mine/report.json"]
    assert not folders[0].exists()
