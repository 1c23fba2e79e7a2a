# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the results of modules against the RETURN documentation of the modules.

Nodes are untrusted, so a result can contain any JSON value. Other code on the controller reads only checked results.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping
from pathlib import Path

from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import CHECKS, Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import printable

#: Exceptions of code that reads a value which has the documented type but makes no sense.
SENSELESS: t.Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

#: Limits of the magnitude of a number other than 0. Sizes, times and rates are far within these limits, and short
#: calculations with such numbers result neither in 0 nor in infinity.
SMALLEST: t.Final = 1e-30
LARGEST: t.Final = 2**63 - 1
#: Maximum length of a text. Linux limits an argument or environment variable to as many bytes (MAX_ARG_STRLEN).
MAX_TEXT: t.Final = 131_072
#: Maximum depth of lists and dictionaries whose contents are not documented.
MAX_DEPTH: t.Final = 16

#: Integers that may be negative. All others are counts, sizes, indices, or readings that NVML defines as unsigned.
_SIGNED: t.Final = frozenset({"margin", "margin_slowdown", "seed"})

#: Fields of the findings of every module, as in RETURN documentation.
_FINDING: t.Final[dict[str, t.Any]] = {
    "check": {"type": "str", "choices": list(CHECKS), "returned": "always"},
    "status": {"type": "str", "choices": [status.value for status in Status], "returned": "always"},
    "summary": {"type": "str", "returned": "always"},
    **dict.fromkeys(("expected", "measured"), {"type": "raw", "returned": "success"}),
    "evidence": {"type": "dict", "elements": "raw", "returned": "success"},
    **dict.fromkeys(("unit", "cause", "remedy", "source"), {"type": "str", "returned": "success"}),
}

#: Function that returns a checked copy of a value other than null.
_Checker = Callable[[t.Any], t.Any]
#: Checkers of the values of a dictionary by key, each with True if the value must be present and not null.
_Fields = Mapping[str, tuple[_Checker, bool]]


class InvalidResult(ValueError):
    """A value in a result is not as documented."""

    def __init__(self, expected: str, value: t.Any) -> None:
        super().__init__(expected)
        self.path = ""
        self.expected = expected
        self.shown = {type(None): "null", dict: "a dictionary", list: "a list"}.get(type(value)) or repr(value)[:40]

    def __str__(self) -> str:
        return f"{self.path.lstrip('.')} must be {self.expected}, got {self.shown}"

    def within(self, key: str | int) -> InvalidResult:
        """Put ``key``, the place of the value in a dictionary or list, in front of the path of the value."""
        self.path = (f"[{key}]" if isinstance(key, int) else f".{key}") + self.path
        return self


def checked_result(module: str, result: t.Any) -> dict[str, t.Any]:
    """Return a copy of the documented values of the result of ``module``, with printable texts.

    Values without documentation are left out. A documented value may be missing or null, unless it is ``returned:
    always``.

    :raises InvalidResult: if a value has the wrong type, or is outside of the limits in this file.
    """
    return t.cast("dict[str, t.Any]", _CHECKERS[module](result))


def _module(name: str) -> _Checker:
    # The imports of all modules would take 0.3 s and 14 MB, which every playbook with the concise output would need.
    source = (Path(__file__).parents[1] / "modules" / f"{name}.py").read_text(encoding="utf-8")
    documentation = yaml_load(source.partition('\nRETURN = r"""')[2].partition('"""')[0])
    findings = {**documentation["findings"].get("contains", {}), **_FINDING}
    return _record({**_fields(documentation), "findings": (_list(_finding(_record(_fields(findings)))), False)})


def _fields(documentation: Mapping[str, Mapping[str, t.Any]]) -> _Fields:
    return {name: (_documented(name, item), item["returned"] == "always") for name, item in documentation.items()}


def _documented(name: str, documentation: Mapping[str, t.Any]) -> _Checker:
    """Return the checker of the value ``name`` with this documentation."""
    kind, elements = documentation["type"], documentation.get("elements", "")
    if "contains" in documentation:
        record = _record(_fields(documentation["contains"]))
        return _list(record) if kind == "list" else record
    if kind == "dict" and elements:
        return _map(_scalar(name, elements))
    if kind == "list" and elements not in ("dict", "list"):
        return _list(_scalar(name, elements), nullable=elements in ("float", "str"))
    if kind in ("dict", "list"):
        return _like(name, documentation["sample"])
    return _scalar(name, kind, documentation.get("choices"))


def _like(name: str, sample: t.Any) -> _Checker:
    """Return the checker of the value ``name``, if only a sample documents it."""
    if isinstance(sample, Mapping):
        return _record({key: (_like(key, item), False) for key, item in sample.items()})
    if isinstance(sample, list):
        return _list(_like(name, sample[0]), nullable=isinstance(sample[0], (float, str)))
    return _scalar(name, type(sample).__name__)


def _record(fields: _Fields) -> _Checker:
    def check(value: t.Any) -> dict[str, t.Any]:
        if not isinstance(value, Mapping):
            raise InvalidResult("a dictionary", value)
        checked: dict[str, t.Any] = {}
        for name, (checker, required) in fields.items():
            item = value.get(name)
            if item is None and required:
                raise InvalidResult("set", item).within(name)
            if name in value:
                checked[name] = _item(name, item, checker, nullable=True)
        return checked

    return check


def _finding(record: _Checker) -> _Checker:
    def check(value: t.Any) -> dict[str, t.Any]:
        finding = t.cast("dict[str, t.Any]", record(value))
        if finding.get("evidence", {}) is None:
            finding["evidence"] = {}
        for key in ("cause", "remedy"):
            if finding["status"] in (Status.FAIL, Status.WARN) and finding.get(key) is None:
                raise InvalidResult("set", None).within(key)
        return finding

    return check


def _map(checker: _Checker) -> _Checker:
    def check(value: t.Any) -> dict[str, t.Any]:
        if not isinstance(value, Mapping):
            raise InvalidResult("a dictionary", value)
        return {_text(key): _item(key, item, checker, nullable=True) for key, item in value.items()}

    return check


def _list(checker: _Checker, *, nullable: bool = False) -> _Checker:
    def check(value: t.Any) -> list[t.Any]:
        if not isinstance(value, (list, tuple)):
            raise InvalidResult("a list", value)
        return [_item(index, item, checker, nullable=nullable) for index, item in enumerate(value)]

    return check


def _item(key: str | int, item: t.Any, checker: _Checker, *, nullable: bool) -> t.Any:
    if item is None and nullable:
        return None
    try:
        return checker(item)
    except InvalidResult as error:
        raise error.within(key) from None


def _scalar(name: str, kind: str, choices: t.Collection[str] | None = None) -> _Checker:
    if choices is not None:
        return lambda value: _choice(value, choices)
    if kind == "int":
        return _signed if name in _SIGNED else _unsigned
    return {"str": _text, "float": _number, "bool": _switch}.get(kind, _raw)


def _choice(value: t.Any, choices: t.Collection[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise InvalidResult(f"one of {', '.join(choices)}" if len(choices) < 10 else "a documented value", value)
    return str(value)


def _text(value: t.Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise InvalidResult(f"a text of at most {MAX_TEXT} characters", value)
    return printable(value)


def _switch(value: t.Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidResult("true or false", value)
    return value


def _signed(value: t.Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST:
        raise InvalidResult("an integer of at most 64 bits", value)
    return int(value)


def _unsigned(value: t.Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise InvalidResult(f"an integer from 0 to {LARGEST}", value)
    return int(value)


def _number(value: t.Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidResult("a number", value)
    if not (value == 0 or SMALLEST <= abs(value) <= LARGEST):
        raise InvalidResult(f"0 or a number of a magnitude from {SMALLEST} to {LARGEST}", value)
    return int(value) if isinstance(value, int) else float(value)


def _raw(value: t.Any, depth: int = 0) -> t.Any:
    """Check a value of any type."""
    if depth > MAX_DEPTH:
        raise InvalidResult(f"nested at most {MAX_DEPTH} deep", value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, Mapping):
        return _map(lambda item: _raw(item, depth + 1))(value)
    if isinstance(value, (list, tuple)):
        return _list(lambda item: _raw(item, depth + 1), nullable=True)(value)
    return _text(value)


#: Checkers of the results that nodes return.
_CHECKERS: t.Final = {
    name: _module(name)
    for name in (
        "gpu_facts",
        "gpu_monitor",
        "link_check",
        "nccl_bandwidth",
        "nccl_log_scan",
        "output_check",
        "p2p_check",
        "throughput_probe",
        "vllm_tp_check",
    )
}
