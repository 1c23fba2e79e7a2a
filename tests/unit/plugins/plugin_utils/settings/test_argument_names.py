# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of arguments: which versions know them."""

from __future__ import annotations

import re

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.plan import OPTIONS, SIZES
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings import argument_names
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.known_issues import parse_version
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.profiles import PROFILES


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [
        ("max_num_seqs", "0.32.0", ""),
        ("max_num_sequences", "0.32.0", "no such argument in 0.32.0.*did you mean --max-num-seqs"),
        ("no_such_thing", "0.15.1", "no such argument"),
        ("no_such_thing", "0.34.0", ""),
        ("no_such_thing", "0.6.2", ""),
        ("no_such_thing", None, ""),
        ("guided_decoding_backend", "0.11.0", ""),
        ("guided_decoding_backend", "0.12.0", "has it no more, 0.11.0 did"),
        ("structured_outputs_config", "0.10.2", "has it not yet, 0.11.0 does"),
        ("rope_scaling", "0.11.2", ""),
        ("rope_scaling", "0.12.0", "has it no more"),
        ("disable_prefix_caching", "0.33.0", ""),
        ("disable_prefix_caching", "0.32.0", "no such argument"),
        ("swap_space", "0.32.0", ""),
        ("max_num_seq", "0.32.0", ""),
    ],
)
def test_a_name_is_unknown_only_where_no_release_around_has_it(name: str, version: str | None, words: str) -> None:
    found = argument_names.unknown([name, name], parse_version(version))
    if words:
        (text,) = found
        assert "unrecognized arguments" in text
        assert re.search(words, text)
    else:
        assert found == []


@pytest.mark.parametrize("release", argument_names.RELEASES)
def test_what_the_role_itself_gives_is_known(release: str) -> None:
    version = parse_version(release) or ()
    own = {"host", "port", "disable_custom_all_reduce", *OPTIONS, *SIZES}
    own |= {row.name for rows in PROFILES.values() for row in rows if row.holds(version)}
    assert argument_names.unknown(sorted(own), version) == []


def test_the_parser_of_command_lines_knows_no_other_names() -> None:
    names = {*engine_args.FLAGS, *engine_args.LISTS, *engine_args.SHORT.values()}
    ever = {name for release in argument_names.RELEASES for name in argument_names.known(parse_version(release) or ())}
    assert names - ever <= {"enable_response_messages", "model_loader_extra_options", "allowed_local_media_domains"}


def test_names_are_found_in_every_form() -> None:
    words = [
        "--max-num-seqs",
        "8",
        "--max_model_len=4096",
        "--no-enable-prefix-caching",
        "--hf-overrides.a.b=1",
        "-tp",
        "2",
    ]
    assert argument_names.names_of([*words, "--", "value"]) == [
        "max_num_seqs", "max_model_len", "enable_prefix_caching", "hf_overrides",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "version", "full"),
    [("api_k", "0.32.0", "api_key"), ("max_num_seq", "0.32.0", "max_num_seqs"), ("max_num", "0.32.0", "max_num"),
     ("max_model_len", "0.32.0", "max_model_len"), ("api_k", None, "api_k")],
)  # fmt: skip
def test_an_abbreviation_is_taken_for_its_only_meaning(name: str, version: str | None, full: str) -> None:
    assert argument_names.in_full(name, parse_version(version)) == full
