# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the tables in plugins/plugin_utils/data against their JSON Schemas."""

from __future__ import annotations

import collections
import json
import re
import typing as t
from collections.abc import Iterable

import jsonschema
import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import normalise
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.profiles import PROFILES
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import IssueKind
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version, parse_version
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import DIRECTORY

Schema = dict[str, t.Any]


def closed(required: Schema, optional: Schema | None = None) -> Schema:
    """Return the JSON Schema of an object with exactly these keys."""
    properties = {**required, **(optional or {})}
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def listed(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1, "uniqueItems": True}


def mapped(values: Schema, names: str = r"[a-z_][a-z0-9_]*") -> Schema:
    return {"type": "object", "additionalProperties": values, "propertyNames": {"pattern": f"^{names}$"}}


TEXT: Schema = {"type": "string", "minLength": 1}
SENTENCE: Schema = {"type": "string", "pattern": r"^\S.*[.)]$"}
VERSION: Schema = {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"}
ARGUMENT: Schema = {"type": "string", "pattern": r"^[a-z][a-z0-9_]*$"}
VARIABLE: Schema = {"type": "string", "pattern": r"^VLLM_[A-Z0-9_]+$"}
SETTING: Schema = {"type": "string", "pattern": r"^([a-z][a-z0-9_]*|[A-Z][A-Z0-9_]*)$"}
LOWER_CASE: Schema = {"type": "string", "pattern": r"^[a-z0-9_]+$"}
CHOICE: Schema = {"type": "string", "pattern": r"^[a-z0-9_-]+$"}
POSITIVE: Schema = {"type": "number", "exclusiveMinimum": 0}
SOURCES = mapped(TEXT)

CONDITION: Schema = {
    "values": listed(LOWER_CASE),
    "unless": listed(LOWER_CASE),
    "above": {"type": "number"},
    "below": {"anyOf": [{"type": "number"}, ARGUMENT]},
}
VARIABLE_TYPES = ("names", "integers", "numbers")
RULE = {
    **closed(
        {
            "name": SETTING,
            "kind": {"enum": [kind.value for kind in IssueKind]},
            "summary": TEXT,
            "source": TEXT,
        },
        {
            **CONDITION,
            "cause": SENTENCE,
            "remedy": SENTENCE,
            "fault": {"enum": list(FAULTS)},
            "since": VERSION,
            "before": VERSION,
            "with": mapped(closed({}, CONDITION), r"[A-Za-z][A-Za-z0-9_]*"),
        },
    ),
    "oneOf": [{"required": ["cause", "remedy"]}, {"required": ["fault"]}],
}
PROFILE_SETTING = closed(
    {"name": ARGUMENT, "value": {"type": ["number", "string", "boolean"]}, "why": SENTENCE},
    {"needs_fp8": {"const": True}, "since": VERSION},
)
GUIDE_SETTING = closed(
    {name: PROFILE_SETTING["properties"][name] for name in ("name", "value")},
    {"differs": SENTENCE, "needs_fp8": {"const": True}},
)
PATH: Schema = {
    "path": {"enum": ["nvlink", "pcie", "shm"]},
    "gpus": {"enum": [2, 4, 8]},
    "source": TEXT,
}
LIMIT: Schema = {
    **{name: {"type": ["number", "null"]} for name in ("min", "above", "max")},
    **dict.fromkeys(("pattern", "allowed", "unit"), {"type": "string", "minLength": 1}),
}
CAUSE_TEXTS: Schema = {"title": TEXT, "cause": TEXT, "remedy": TEXT, "expected_gain": TEXT}
SCHEMAS: dict[str, Schema] = {
    "arguments": closed(
        {
            "releases": listed(VERSION),
            "opposites_since": VERSION,
            "arguments": listed(closed({"first": VERSION, "names": listed(ARGUMENT)}, {"last": VERSION})),
            "remedies": mapped(SENTENCE),
            "values": mapped(
                closed(
                    {
                        "always": listed(LOWER_CASE),
                        "never": mapped(LOWER_CASE),
                        "open_since": VERSION,
                        "added": listed(
                            closed({"before": VERSION, "values": listed(LOWER_CASE), "instead": LOWER_CASE})
                        ),
                    }
                )
            ),
        }
    ),
    "variables": closed(
        {
            "releases": listed(VERSION),
            "variables": listed(
                {
                    **closed({"first": VERSION}, {"last": VERSION, **dict.fromkeys(VARIABLE_TYPES, listed(VARIABLE))}),
                    "anyOf": [{"required": [key]} for key in VARIABLE_TYPES],
                }
            ),
            "elsewhere": listed(VARIABLE),
            "remedies": listed(closed({"remedy": SENTENCE, "names": listed(VARIABLE)})),
            "choices": mapped(closed({"since": VERSION, "values": listed(CHOICE)}), "VLLM_[A-Z0-9_]+"),
        }
    ),
    # Conclusions of this collection; only the ids contain a dot, and NAME is replaced.
    "causes": mapped(
        closed(
            {"shown_by": TEXT, "title": TEXT, "cause": TEXT, "remedy": TEXT},
            {"cases": mapped(closed({}, CAUSE_TEXTS), ".+"), "expected_gain": TEXT},
        ),
        r"[a-z_]+\.[a-zA-Z0-9_]+",
    ),
    "known_issues": closed(
        {
            "sources": SOURCES,
            "combinations": listed(RULE),
            "arguments": listed(RULE),
            "environment": listed(RULE),
            "shared_memory": RULE,
        }
    ),
    "option_limits": closed(
        {
            "types": mapped(TEXT),
            "kinds": mapped(closed({}, LIMIT)),
            "options": mapped(
                {
                    "anyOf": [
                        TEXT,
                        closed({}, {**LIMIT, "kind": TEXT, "required": {"const": True}, "optional": {"const": True}}),
                    ]
                },
                r"[a-z0-9_]+(\.[a-z_]+)?",
            ),
        }
    ),
    "interconnect": closed(
        {
            "all_reduce_latency": listed(closed({**PATH, "microseconds": POSITIVE})),
            "bus_bandwidth": listed(closed({**PATH, "percent": POSITIVE}, {"gpu": TEXT})),
            "links": mapped(TEXT, "nvlink|pcie|shm"),
            "pcie_lane": {"type": "object", "additionalProperties": POSITIVE},
            "nvlink": mapped(POSITIVE, "default|[a-z0-9 ]+"),
            "sources": SOURCES,
        }
    ),
    "profiles": closed(
        {
            "gpus_without_fp8": listed(TEXT),
            "profiles": mapped(listed(PROFILE_SETTING)),
            "common": listed(PROFILE_SETTING),
            "guide": mapped(listed(GUIDE_SETTING)),
        }
    ),
    "refused_settings": closed(
        {
            "secret_arguments": mapped(ARGUMENT),
            "secret_variables": mapped(ARGUMENT, "[A-Z][A-Z0-9_]*"),
            "reserved_arguments": mapped(TEXT),
            "group_arguments": mapped(TEXT),
        }
    ),
    "tuning": closed(
        {
            "goals": mapped(
                closed(
                    {"figure": ARGUMENT, "more": {"type": "boolean"}, "unit": TEXT, "profile": {"enum": [*PROFILES]}}
                )
            ),
            "spaces": mapped(mapped(listed({"type": ["number", "string", "null"]}), "[A-Za-z][A-Za-z0-9_]*")),
        }
    ),
    "reference_speeds": closed(
        {
            "sources": SOURCES,
            "speeds": listed(
                closed(
                    {
                        "gpu": TEXT,
                        "gpus": {"type": "integer", "minimum": 1},
                        "model": TEXT,
                        "low": POSITIVE,
                        "high": POSITIVE,
                        "source": TEXT,
                    }
                )
            ),
            "scaling": listed(
                closed(
                    {
                        "gpus": {"type": "integer", "minimum": 2},
                        "low": POSITIVE,
                        "high": POSITIVE,
                        "source": TEXT,
                    }
                )
            ),
            "decode_efficiency": listed(closed({"gpu": TEXT, "fraction": {**POSITIVE, "maximum": 1}, "source": TEXT})),
        }
    ),
}


class UniqueKeyLoader(yaml.SafeLoader):
    """A YAML loader that rejects duplicate keys; other loaders silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[t.Hashable, t.Any]:
        keys = [self.construct_object(key, deep=deep) for key, _value in node.value]
        assert duplicates(keys) == [], node.start_mark
        return super().construct_mapping(node, deep=deep)


def table(name: str) -> dict[str, t.Any]:
    content = yaml.load((DIRECTORY / f"{name}.yml").read_text("utf-8"), UniqueKeyLoader)
    assert isinstance(content, dict)
    return content


def duplicates(items: Iterable[t.Any]) -> list[t.Any]:
    return [item for item, count in collections.Counter(items).items() if count > 1]


def version(text: str) -> Version:
    parsed = parse_version(text)
    assert parsed is not None
    return parsed


def rules() -> list[dict[str, t.Any]]:
    content = table("known_issues")
    return [*content["combinations"], *content["arguments"], *content["environment"], content["shared_memory"]]


TABLES = sorted(path.stem for path in DIRECTORY.iterdir())


@pytest.mark.parametrize("name", TABLES)
def test_table_matches_its_schema(name: str) -> None:
    jsonschema.Draft202012Validator(SCHEMAS[name]).validate(table(name))


@pytest.mark.parametrize("name", [name for name in TABLES if name != "causes"])
def test_table_states_its_source(name: str) -> None:
    assert re.search(r"^(# Source|sources): ?", (DIRECTORY / f"{name}.yml").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", ["interconnect", "known_issues", "reference_speeds"])
def test_table_sources_are_defined_and_used(name: str) -> None:
    content = table(name)
    rows = [row for part in content.values() for row in (part if isinstance(part, list) else [part])]
    assert {row["source"] for row in rows if "source" in row} == set(content["sources"])


@pytest.mark.parametrize("name", ["arguments", "variables"])
def test_releases_ascend(name: str) -> None:
    releases = [version(release) for release in table(name)["releases"]]
    assert releases == sorted(set(releases))


@pytest.mark.parametrize("name", ["arguments", "variables"])
def test_spans_are_between_releases(name: str) -> None:
    releases = table(name)["releases"]
    for row in table(name)[name]:
        first, last = releases.index(row["first"]), releases.index(row.get("last", releases[-1]))
        assert first <= last
        # `last` is absent if the latest release still has the name.
        assert row.get("last") != releases[-1]


@pytest.mark.parametrize("name", ["arguments", "variables"])
def test_names_have_one_span_each(name: str) -> None:
    rows = table(name)[name]
    assert duplicates(item for row in rows for names in row.values() if isinstance(names, list) for item in names) == []
    assert duplicates((row["first"], row.get("last")) for row in rows) == []


def test_variables_with_a_remedy_are_not_in_the_latest_release() -> None:
    content = table("variables")
    names: dict[bool, set[str]] = {True: set(), False: set()}
    for row in content["variables"]:
        names["last" in row].update(*(row.get(key, ()) for key in VARIABLE_TYPES))
    replaced = [name for row in content["remedies"] for name in row["names"]]
    assert duplicates(replaced) == []
    assert not names[False] & set(replaced)
    assert names[True] | names[False] >= set(content["choices"])


def test_arguments_remedies_are_for_arguments_that_some_release_lacks() -> None:
    content = table("arguments")
    partial = {
        name
        for row in content["arguments"]
        if row["first"] != content["releases"][0] or "last" in row
        for name in row["names"]
    }
    assert set(content["remedies"]) <= partial


def test_arguments_values_are_listed_once_and_replaced_by_older_ones() -> None:
    for row in table("arguments")["values"].values():
        added = [value for part in row["added"] for value in part["values"]]
        assert duplicates([*row["always"], *row["never"], *added]) == []
        assert {*row["never"].values(), *(part["instead"] for part in row["added"])} <= set(row["always"])
        bounds = [version(part["before"]) for part in row["added"]]
        assert bounds == sorted(set(bounds))
        assert bounds[-1] <= version(row["open_since"])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: f"{rule['name']}-{rule['kind']}")
def test_known_issue_version_bounds_are_ordered(rule: dict[str, t.Any]) -> None:
    if "since" in rule and "before" in rule:
        assert version(rule["since"]) < version(rule["before"])


def test_known_issues_have_no_duplicate_rows() -> None:
    texts = ("kind", "summary", "cause", "remedy", "fault", "source")
    assert duplicates(rule["summary"] for rule in rules()) == []
    assert duplicates(
        json.dumps({key: value for key, value in rule.items() if key not in texts}, sort_keys=True) for rule in rules()
    ) == []  # fmt: skip


def test_known_issues_are_in_the_section_of_their_setting() -> None:
    content = table("known_issues")
    names = {section: [row["name"] for row in content[section]] for section in ("arguments", "environment")}
    assert all(name.islower() for name in names["arguments"])
    assert all(name.isupper() for name in names["environment"])
    assert all("with" in row or isinstance(row.get("below"), str) for row in content["combinations"])
    assert not any("with" in row for section in names for row in content[section])


def test_profiles_have_each_setting_once() -> None:
    content = table("profiles")
    for rows in content["profiles"].values():
        assert duplicates(row["name"] for row in [*rows, *content["common"]]) == []


def test_profiles_use_known_arguments() -> None:
    arguments = {name for row in table("arguments")["arguments"] for name in row["names"]}
    content = table("profiles")
    assert {row["name"] for rows in [*content["profiles"].values(), content["common"]] for row in rows} <= arguments


def test_reference_speeds_have_unique_normalised_rows() -> None:
    content = table("reference_speeds")
    assert duplicates((row["gpu"], row["gpus"], row["model"]) for row in content["speeds"]) == []
    assert duplicates(row["gpus"] for row in content["scaling"]) == []
    assert duplicates(row["gpu"] for row in content["decode_efficiency"]) == []
    assert all(row["low"] <= row["high"] for row in [*content["speeds"], *content["scaling"]])
    assert all(normalise(row["gpu"]) == row["gpu"] for row in [*content["speeds"], *content["decode_efficiency"]])
