# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz all options of all roles with bad values, and check the limits of single options."""

from __future__ import annotations

import math
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.plugin_utils.option_limits import (
    CHECKS,
    InvalidRoleOption,
    check_value,
    check_values,
    limits,
    shown,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import role_options
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import load_table

ROLES: t.Final = Path(__file__).resolve().parents[4] / "roles"
ROLE_NAMES: t.Final = sorted(path.name for path in ROLES.iterdir())
OPTIONS: t.Final = {name: option for role in ROLE_NAMES for name, option in role_options(role).items()}
TABLE: t.Final = load_table("option_limits")

NOT_NUMBERS: t.Final = ("x", "", True, math.nan, math.inf, -math.inf, "nan", "inf", 1e300, -1, [], {}, {"x": 1})
NOT_TEXTS: t.Final = (
    True,
    math.nan,
    math.inf,
    -math.inf,
    ["x"],
    {"x": 1},
    [],
    {},
    "a\nb",
    "\x1b[2J",
    "--help",
    "",
    None,
)
#: Type in ``argument_specs.yml`` -> values that are wrong for most options of this type.
BAD_VALUES: t.Final[dict[str, tuple[t.Any, ...]]] = {
    "int": (*NOT_NUMBERS, 1.5, 2**63),
    "float": NOT_NUMBERS,
    "bool": ("x", "", 2, math.nan, [], {}, None),
    "str": NOT_TEXTS,
    "path": NOT_TEXTS,
    "list": ({"x": 1}, None, 1.5, True, [[]], [None], []),
    "dict": ("x", [1], 1, True, math.nan, {"x": math.nan}, {"a b": [math.inf]}, None, {}),
}
#: Values of ``BAD_VALUES`` that are accepted: reason -> kind or option -> values.
ACCEPTED: t.Final[dict[str, dict[str, tuple[t.Any, ...]]]] = {
    "a password, a key, a tag or a confirmation may begin with '-'": {
        "header": ("--help",),
        "provision_vault_password": ("--help",),
        "provision_teardown_confirm": ("--help",),
        "provision_tags": (["--help"],),
    },
    "vLLM's command line has arguments, also in several lines": {
        "vllm_extra_args": ("--help", "a\nb", "\x1b[2J"),
        "simulated_node_server_arguments": (["--help"],),
    },
    "the action also checks that the host is in the inventory": {"validate_load_hosts": (["--help"], 1.5)},
    "the action also checks the form of a threshold, and tune_ledger that of the settings to try": {
        "validate_thresholds": ([{}],),
        "tune_initial_settings": ([{}],),
    },
    "any integer is a seed": {"validate_seed": (-1,)},
    "Ansible reads a number as a list of one text": {
        "provision_authorized_users": (1.5,),
        "provision_tags": (1.5,),
        "simulated_node_server_arguments": (1.5,),
        "path": (1.5,),
    },
}
UNSET: t.Final = "null, an empty text or an empty list leaves the option unset"


def is_unset(name: str, value: t.Any) -> bool:
    """Return whether ``value`` means that an option without a default, or an empty list, is not set."""
    option = OPTIONS[name]
    if option.get("required") or limits(name).get("required"):
        return False
    if value is None or (value == "" and option["type"] in ("str", "path")):
        return option.get("default") in (None, "")
    return value == {"list": [], "dict": {}}.get(option["type"]) and limits(name)["kind"] != "hook"


def bad_values(option: dict[str, t.Any]) -> list[t.Any]:
    values = [*BAD_VALUES[option["type"]]]
    if option["type"] == "list":
        values += [[value] for value in BAD_VALUES[option["elements"]]]
    return values


def reason_to_accept(name: str, value: t.Any) -> str | None:
    """Return the reason why a bad value is accepted, or None if it must be refused."""
    if is_unset(name, value):
        return UNSET
    matches = (
        reason
        for reason, rows in ACCEPTED.items()
        for key in (name, limits(name)["kind"])
        if repr(value) in map(repr, rows.get(key, ()))
    )
    return next(matches, None)


CASES: t.Final = [(name, value) for name, option in OPTIONS.items() for value in bad_values(option)]


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_bad_values_are_refused_in_one_line_or_accepted_with_a_reason(role: str) -> None:
    for name, value in CASES:
        if name not in role_options(role):
            continue
        _valid, errors = check_values(role, {name: value})
        if reason_to_accept(name, value):
            assert errors == [], (name, value)
            continue
        (error,) = errors
        assert error.startswith(name), (name, value)
        assert "\n" not in error
        assert "\x1b" not in error
        # A value that is not a key may be a secret, so it is not shown.
        assert re.search(r" must .*(got |at least one item)|authorized_keys entry|one entry per key", error), error


def test_bad_values_are_at_least_four_hundred_and_most_are_refused() -> None:
    accepted = [reason for name, value in CASES if (reason := reason_to_accept(name, value))]
    assert len(CASES) - len(accepted) >= 2000
    assert len(accepted) < 125
    assert set(accepted) == {*ACCEPTED, UNSET}


def test_every_option_has_limits_or_choices() -> None:
    suboptions = {
        f"{name}.{key}": option
        for name in ("provision_fleet", "validate_link_limits")
        for key, option in OPTIONS[name]["options"].items()
    }
    limited = {
        name
        for name, option in {**OPTIONS, **suboptions}.items()
        if option["type"] != "bool" and "choices" not in option
    }
    assert limited - {"validate_report_formats"} == set(TABLE["options"]) - {"validate_report_formats"}


def test_every_kind_is_used_and_has_one_meaning() -> None:
    rows = [{"kind": row} if isinstance(row, str) else row for row in TABLE["options"].values()]
    assert {row.get("kind") for row in rows} - {None} == set(TABLE["kinds"])
    assert set(CHECKS) <= set(TABLE["kinds"])
    for kind, row in TABLE["kinds"].items():
        forms = [kind in CHECKS, "pattern" in row, "max" in row]
        assert sum(forms) == 1 or kind in ("any", "hook"), kind


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if "max" in limits(name)])
def test_limits_are_inclusive(name: str) -> None:
    row, option = limits(name), OPTIONS[name]
    wrap = (lambda value: [value]) if option["type"] == "list" else (lambda value: value)
    lowest = row["min"] if row.get("min") is not None else row["above"]
    valid = [row["max"], *([row["min"]] if row.get("min") is not None else [])]
    for value in valid:
        assert check_value(name, wrap(value), option) == wrap(value)
    invalid = [row["max"] * 2, lowest - 1, *([row["above"]] if row.get("above") is not None else [])]
    for value in invalid:
        with pytest.raises(InvalidRoleOption, match=rf"^{name}.* must be .*{lowest}.*, got "):
            check_value(name, wrap(value), option)


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_defaults_are_valid(role: str) -> None:
    defaults = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text("utf-8"))
    # A value with a template can be checked only in its play.
    plain = {name: value for name, value in defaults.items() if "{{" not in str(value)}
    _valid, errors = check_values(role, plain)
    required = {"provision": ["provision_fleet", "provision_ssh_sources"], "vllm": ["vllm_model"]}
    assert [error.split()[0] for error in errors] == required.get(role, [])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (
            "provision_authorized_keys",
            ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ5dGVzIG9mIGEga2V5IGZvciBhIHRlc3QgISE= me"],
        ),
        ("provision_ssh_sources", ["203.0.113.7", "2001:db8::/32", "0.0.0.0/0"]),
        ("provision_tags", ["team a", "prod"]),
        ("provision_image", ["private/12345", "linode/debian12"]),
        ("vllm_model", ["meta-llama/Llama-3.1-8B-Instruct", "/models/llama 3"]),
        ("vllm_image", ["vllm/vllm-openai:v0.32.0", "localhost:5000/team/vllm@sha256:" + "0" * 64]),
        ("vllm_gpus", ["all", "none", "0,1", "0, 1", 0, (0, 1), "GPU-5c0e7a4b-1f11-4f4c-8d5c-2d2b6d8a3c11"]),
        ("vllm_bind_address", ["0.0.0.0", "::1", "[::1]", "localhost"]),
        ("vllm_volumes", ["/models:/models:ro", "models:/models"]),
        ("vllm_ulimits", ["memlock:-1:-1", "nofile:1024"]),
        ("vllm_port", ["8001"]),
        ("vllm_overrides", [{"max_num_seqs": 8, "environment": {"NCCL_P2P_LEVEL": "SYS"}, "max_model_len": None}]),
        ("vllm_nccl_bandwidth", [{"default": 8e9, "p2p_off": None}]),
        ("vllm_environment", [{"VLLM_LOGGING_LEVEL": "DEBUG", "NCCL_DEBUG": None, "A": 1}]),
        ("vllm_docker_host", ["unix:///run/user/1000/docker.sock", "tcp://192.0.2.7:2376"]),
        ("validate_hourly_price", ["0.01"]),
        ("validate_journal_unit", ["vllm@chat.service"]),
        ("validate_prompt_tokens", ["128,1024", [128], 128]),
        ("benchmark_target_ttft", [None]),
    ],
)
def test_valid_values_are_accepted(name: str, values: list[t.Any]) -> None:
    for value in values:
        items = [value] if OPTIONS[name].get("elements") == "str" else value
        check_value(name, items, OPTIONS[name])


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("vllm_port", 70000, "vllm_port must be between 1 and 65535, got 70000."),
        ("vllm_model", None, "vllm_model must be the ID or the path of a model, got None."),
        ("vllm_container_name", "../x", "vllm_container_name must be letters, digits, '_', '.' and '-'"),
        ("vllm_config_dir", "etc", "vllm_config_dir must be an absolute path without ':', got 'etc'."),
        ("vllm_volumes", ["/a:/b", "nonsense"], "vllm_volumes, entry 2 must be a mount in the format"),
        ("vllm_overrides", {"max_num_seqs": 0}, "vllm_max_num_seqs must be between 1 and 1000000, got 0."),
        (
            "vllm_overrides",
            {"max_seqs": 1},
            "vllm_overrides: each key must be an option of the vllm role without the prefix vllm_, got 'max_seqs'.",
        ),
        ("vllm_nccl_bandwidth", {"default": 0}, "vllm_nccl_bandwidth: default must be greater than 0 bytes per second"),
        ("vllm_nccl_bandwidth", {"p2p": 1}, "vllm_nccl_bandwidth: each key must be one of default, p2p_off, "),
        ("vllm_extra_args", "--a 'b", "vllm_extra_args must be arguments in the syntax of a command line, got"),
        ("validate_base_url", "ftp://127.0.0.1", "validate_base_url must be an HTTP or HTTPS URL"),
        ("validate_prompt_tokens", [128, 0], "validate_prompt_tokens, entry 2 must be between 1 and 100000000, got 0."),
        ("validate_prompt_tokens", [], "validate_prompt_tokens must have at least one item."),
        ("validate_prompt_tokens", ["x"], "validate_prompt_tokens must be a list in which each item is between 1 and"),
        ("validate_fail_on", "always", "validate_fail_on must be one of fail, warn, never, got 'always'."),
        ("validate_timeout", math.inf, "validate_timeout must be greater than 0 and at most 604800 seconds, got inf."),
        ("validate_container", "--help", "validate_container must be letters"),
        (
            "validate_journal_unit",
            "--rotate",
            "validate_journal_unit must be the name of a systemd unit, got '--rotate'.",
        ),
        (
            "validate_setup_role",
            {"name": "x"},
            "validate_setup_role must have only the keys role, tasks_from, got ['name'].",
        ),
        ("validate_setup_role", {}, "validate_setup_role: role must be text, got None."),
        (
            "validate_speed_limits",
            {"default": {"warn": math.nan}},
            "validate_speed_limits must have finite numbers only",
        ),
        ("provision_tags", ["a,b"], "provision_tags, entry 1 must be 3 to 50 characters without commas, got 'a,b'."),
        ("provision_image", None, "provision_image must be the ID of an image such as linode/ubuntu24.04, got None."),
        ("provision_label_prefix", "a" * 30, "provision_label_prefix must be 1 to 29 letters"),
        ("provision_placement_group_id", -1, "provision_placement_group_id must be between 1 and 2147483647, got -1."),
        (
            "provision_fleet",
            [{"name": "a", "plan": "p", "regions": ["US ORD!"]}],
            "provision_fleet, entry 1: regions, entry 1 must be the ID of a region such as us-ord, got 'US ORD!'.",
        ),
        (
            "provision_fleet",
            [{"name": "a", "plan": "p", "regions": ["us-ord"], "max_hourly_price": "nan"}],
            "provision_fleet, entry 1: max_hourly_price must be greater than 0 and at most 1000000 US dollars per hour",
        ),
        ("provision_fleet", ["x"], "provision_fleet must be a list in which each item is a mapping, got ['x']."),
        ("provision_ca_path", "/no/such/file", "provision_ca_path must be an existing file on the controller"),
    ],
)
def test_invalid_value_is_refused_with_what_is_allowed(name: str, value: t.Any, error: str) -> None:
    with pytest.raises(InvalidRoleOption) as caught:
        check_value(name, value, OPTIONS[name])
    assert str(caught.value).startswith(error)


@pytest.mark.parametrize(
    "key", ["~/.ssh/id_ed25519.pub", "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----"]
)
def test_path_or_private_key_is_no_public_key(key: str) -> None:
    with pytest.raises(InvalidRoleOption, match=r"^provision_authorized_keys, entry 1: .* public ") as caught:
        check_value("provision_authorized_keys", [key], OPTIONS["provision_authorized_keys"])
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["vllm_api_key", "validate_api_key", "provision_api_token", "provision_vault_password"]
)
def test_secret_is_never_in_the_message(name: str) -> None:
    with pytest.raises(InvalidRoleOption, match=r"got '\*\*\*'\.$"):
        check_value(name, "secret\nvalue", OPTIONS[name])


def test_shown_masks_secrets_and_shortens() -> None:
    assert shown("vllm_environment", {"HF_TOKEN": "secret"}) == "{'HF_TOKEN': '***'}"
    assert shown("vllm_model", "x" * 100) == f"'{'x' * 79}... (102 characters)"


def settings_of(node: t.Any) -> t.Iterator[tuple[str, t.Any]]:
    """Yield each option of a role with its value, from a parsed YAML document."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in OPTIONS:
                yield name, value
            yield from settings_of(value)
    elif isinstance(node, list):
        for item in node:
            yield from settings_of(item)


def documents(path: Path) -> t.Iterator[t.Any]:
    """Yield the YAML documents of a file, or of the examples in a Markdown file."""
    text = path.read_text("utf-8")
    blocks = [text] if path.suffix == ".yml" else re.findall(r"```ya?ml\n(.*?)```", text, re.DOTALL)
    for block in blocks:
        yield from yaml.safe_load_all(block)


#: Documented examples, and files that set options for tests.
EXAMPLES: t.Final = sorted(
    path
    for pattern in ("README.md", "docs/*.md", "roles/*/README.md", "inventory/**/*.yml", "playbooks/*.yml",
                    "extensions/molecule/**/*.yml", "tests/integration/targets/**/*.yml")
    for path in ROLES.parent.glob(pattern)
    if path.name != "linode_gpu.yml"  # Its values are expressions.
)  # fmt: skip


def test_examples_are_valid() -> None:
    # A value with a template can be checked only in its play.
    settings = [
        (path, name, value)
        for path in EXAMPLES
        for document in documents(path)
        for name, value in settings_of(document)
        if "{{" not in str(value)
    ]
    assert len(settings) >= 50
    assert [
        error for _path, name, value in settings for error in check_values(name_of_role(name), {name: value})[1]
    ] == []


def name_of_role(option: str) -> str:
    return next(role for role in ROLE_NAMES if option in role_options(role))
