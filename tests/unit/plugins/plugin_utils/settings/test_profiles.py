# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the settings of tuning profiles by vLLM version and GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.profiles import PROFILES, settings_of
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.review import review

VERSIONS = [(0, 6, 3), (0, 10, 2), (0, 16, 0), (0, 33, 0)]


def values(profile: str, version: tuple[int, ...], gpus: tuple[str, ...] = ()) -> dict[str, object]:
    return {setting.name: setting.value for setting in settings_of(profile, version, gpus)}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("profile", PROFILES)
def test_profile_settings_have_no_known_issue(profile: str, version: tuple[int, ...]) -> None:
    assert review(values(profile, version), {}, ".".join(map(str, version))) == []


@pytest.mark.parametrize(
    ("version", "present"), [((0, 6, 3), True), ((0, 10, 0), True), ((0, 10, 1), False), ((0, 33, 0), False)]
)
def test_profile_disables_request_logs_only_before_0_10_1(version: tuple[int, ...], present: bool) -> None:
    assert ("disable_log_requests" in values("throughput", version)) is present


@pytest.mark.parametrize(("version", "present"), [((0, 7, 3), True), ((0, 8, 0), False)])
def test_profile_leaves_out_defaults_of_the_v1_engine(version: tuple[int, ...], present: bool) -> None:
    for name in ("enable_chunked_prefill", "enable_prefix_caching"):
        assert (name in values("latency", version)) is present


def test_profile_context_uses_fp8_only_on_gpus_that_have_it() -> None:
    assert values("context", VERSIONS[-1], ("NVIDIA RTX 4000 Ada Generation",))["kv_cache_dtype"] == "fp8_e4m3"
    assert "kv_cache_dtype" not in values("context", VERSIONS[-1], ("Quadro RTX 6000",))


def test_profiles_order_by_number_of_streams() -> None:
    streams = {name: values(name, VERSIONS[-1])["max_num_seqs"] for name in PROFILES}
    assert streams["throughput"] > streams["latency"] > streams["context"]


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("guide-throughput", {"max_num_seqs": 4, "gpu_memory_utilization": 0.9}),
        ("guide-latency", {"max_num_seqs": 1, "gpu_memory_utilization": 0.88}),
        (
            "guide-context",
            {"max_num_seqs": 1, "gpu_memory_utilization": 0.85, "kv_cache_dtype": "fp8_e4m3", "max_model_len": 32768},
        ),
    ],
)
def test_profile_of_the_guide_is_translated_to_the_version(profile: str, expected: dict[str, object]) -> None:
    assert values(profile, (0, 32, 0)) == expected
    # Arguments that are defaults of newer versions.
    old = set(values(profile, (0, 6, 3))) - set(expected)
    assert old == {"guide-throughput": {"enable_chunked_prefill", "enable_prefix_caching"}}.get(
        profile, {"disable_log_requests"} if profile == "guide-latency" else set()
    )


@pytest.mark.parametrize(("version", "length"), [((0, 13, 0), None), ((0, 14, 0), "auto"), ((0, 33, 0), "auto")])
def test_profile_context_has_the_longest_context_that_fits(version: tuple[int, ...], length: str | None) -> None:
    assert values("context", version).get("max_model_len") == length


def guide_table() -> list[str]:
    """Return the rows of the README's table: the values of the guide next to those of the role's own profiles."""
    rows = ["| Profile | Argument | Guide | Ours | Reason for the difference |", "|---|---|---|---|---|"]
    for profile in ("throughput", "latency", "context"):
        own = {row.name: row for row in PROFILES[profile]}
        for row in PROFILES[f"guide-{profile}"]:
            ours = own.pop(row.name)
            assert (ours.value == row.value) is (row.differs == ""), row
            rows.append(f"| {profile} | `{row.name}` | {row.value} | {ours.value} | {row.differs} |")
        rows += [f"| {profile} | `{row.name}` | - | {row.value} | {row.why} |" for row in own.values()]
    return rows


def test_readme_compares_the_profiles_with_the_guide() -> None:
    text = (Path(__file__).parents[5] / "roles/vllm/README.md").read_text("utf-8")
    assert "\n".join(guide_table()) in text


def test_profile_rows_give_a_reason() -> None:
    assert all(row.why.endswith((".", ")")) for rows in PROFILES.values() for row in rows)


def test_settings_of_unknown_profile_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="'fast'.*throughput, latency, context"):
        settings_of("fast", VERSIONS[-1])
