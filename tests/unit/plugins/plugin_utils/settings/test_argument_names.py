# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which arguments of ``vllm serve`` each version has."""

from __future__ import annotations

import re

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.plan import OPTIONS, SIZES
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.argument_names import (
    ARGUMENTS,
    full_name,
    long_options,
    unknown_arguments,
    version_rules,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.profiles import PROFILES, settings_of
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import parse_version


@pytest.mark.parametrize(
    ("name", "version", "pattern"),
    [
        ("max_num_seqs", "0.32.0", ""),
        ("max_num_sequences", "0.32.0", "unknown argument in vLLM 0.32.0.*Did you mean --max-num-seqs"),
        ("no_such_thing", "0.15.1", "unknown argument"),
        ("no_such_thing", "0.34.0", ""),
        ("no_such_thing", "0.6.2", ""),
        ("no_such_thing", None, ""),
        ("guided_decoding_backend", "0.11.0", ""),
        ("guided_decoding_backend", "0.12.0", "removed after vLLM 0.11.0"),
        ("structured_outputs_config", "0.10.2", "not in vLLM 0.10.2, added in 0.11.0"),
        ("rope_scaling", "0.11.2", ""),
        ("rope_scaling", "0.12.0", "removed after vLLM 0.11.0"),
        ("disable_prefix_caching", "0.33.0", ""),
        ("disable_prefix_caching", "0.32.0", "unknown argument"),
        ("swap_space", "0.32.0", ""),
        ("max_num_seq", "0.32.0", ""),
    ],
)
def test_unknown_arguments_are_in_no_neighbouring_release(name: str, version: str | None, pattern: str) -> None:
    errors = unknown_arguments([name, name], parse_version(version))
    if pattern:
        (text,) = errors
        assert "unrecognized arguments" in text
        assert re.search(pattern, text)
    else:
        assert errors == []


@pytest.mark.parametrize("release", ARGUMENTS.releases)
def test_unknown_arguments_include_none_that_the_role_sets(release: str) -> None:
    version = parse_version(release) or ()
    own = {"host", "port", "disable_custom_all_reduce", *OPTIONS, *SIZES}
    own |= {setting.name for profile in PROFILES for setting in settings_of(profile, version)}
    assert unknown_arguments(sorted(own), version) == []


def test_names_in_all_releases_include_those_of_the_parser() -> None:
    names = {*engine_args.FLAGS, *engine_args.LISTS, *engine_args.SHORT.values()}
    assert names - set(ARGUMENTS.spans) <= {
        "enable_response_messages",
        "model_loader_extra_options",
        "allowed_local_media_domains",
    }


def test_long_options_are_read_in_every_form() -> None:
    arguments = [
        "--max-num-seqs",
        "8",
        "--max_model_len=4096",
        "--no-enable-prefix-caching",
        "--hf-overrides.a.b=1",
        "-tp",
        "2",
    ]
    assert long_options([*arguments, "--", "value"]) == [
        "max_num_seqs", "max_model_len", "enable_prefix_caching", "hf_overrides",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "version", "full"),
    [("api_k", "0.32.0", "api_key"), ("max_num_seq", "0.32.0", "max_num_seqs"), ("max_num", "0.32.0", "max_num"),
     ("max_model_len", "0.32.0", "max_model_len"), ("api_k", None, "api_k")],
)  # fmt: skip
def test_full_name_expands_an_unambiguous_abbreviation(name: str, version: str | None, full: str) -> None:
    assert full_name(name, parse_version(version)) == full


def test_version_rules_of_a_removed_argument_end_if_it_returns() -> None:
    rules = {(rule.name, rule.kind.value): rule for rule in version_rules("a source")}
    removed = rules["disable_log_requests", "removed"]
    assert (removed.since, removed.before) == ((0, 17, 0), (0, 33, 0))
    assert rules["swap_space", "removed"].before is None
    assert rules["data_parallel_size", "too_new"].before == (0, 8, 1)
