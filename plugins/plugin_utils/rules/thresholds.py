# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check one host's entry in the report against user-defined thresholds, which are JMESPath queries with bounds.

If a query returns a list, the threshold applies to every element. If a query returns nothing, the threshold is not
tested. Queries are only evaluated as JMESPath, never executed as code.
"""

from __future__ import annotations

import operator
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import expectation

try:
    import jmespath
    from jmespath.exceptions import JMESPathError
    from jmespath.functions import Functions
except ImportError as problem:
    JMESPATH_MISSING: ImportError | None = problem
else:
    JMESPATH_MISSING = None

CHECK: t.Final = "user.threshold"

_ALLOWED: t.Final = "query, min, max, equals, message"


def _is_number(value: t.Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


#: Text of each bound, and a test of whether a value meets it. All except ``equals`` require numbers.
BOUNDS: t.Final[dict[str, tuple[str, Callable[[t.Any, t.Any], t.Any]]]] = {
    "min": ("at least", operator.ge),
    "max": ("at most", operator.le),
    "equals": ("equal to", operator.eq),
}


class InvalidThreshold(ValueError):
    """A threshold is invalid; the message contains the reason and the threshold's position in the list."""


@dataclass(frozen=True)
class Threshold:
    """A compiled query and bounds for its result. A finding shows ``message``, if set, instead of the query."""

    query: str
    expression: t.Any
    bounds: Mapping[str, t.Any] = field(default_factory=dict)
    message: str | None = None

    @property
    def text(self) -> str:
        """The bounds as text, such as ``at least 100 and at most 200``."""
        return " and ".join(f"{BOUNDS[name][0]} {limit}" for name, limit in self.bounds.items())

    @property
    def numeric(self) -> bool:
        return any(name != "equals" for name in self.bounds)

    def broken_by(self, value: t.Any) -> bool:
        return not all(BOUNDS[name][1](value, limit) for name, limit in self.bounds.items())


def judgement_errors(items: t.Any, speed_limits: t.Any = None) -> list[str]:
    """Return an error message for each invalid entry in ``validate_thresholds`` and ``validate_speed_limits``."""
    return [*problems(items), *expectation.limit_problems(speed_limits or {})]


def problems(items: t.Any) -> list[str]:
    """Return an error message for each invalid entry in ``validate_thresholds``."""
    if not isinstance(items, Sequence) or isinstance(items, str):
        return [f"validate_thresholds must be a list of queries with limits, got {type(items).__name__}"]
    errors = []
    for number, item in enumerate(items, start=1):
        try:
            parse(item, number)
        except InvalidThreshold as problem:
            errors.append(str(problem))
    return errors


def parse(item: t.Any, number: int = 1) -> Threshold:
    """Parse ``item``, an entry of ``validate_thresholds``. Error messages contain ``number``, the entry's position.

    :raises InvalidThreshold: if the entry has a wrong structure, an invalid JMESPath query or an unknown function.
    """
    where = f"validate_thresholds, entry {number}"
    if not isinstance(item, Mapping):
        raise InvalidThreshold(f"{where} must be a mapping with the keys {_ALLOWED}, got {item!r}")
    unknown = [str(key) for key in item if key not in (*BOUNDS, "query", "message")]
    if unknown:
        raise InvalidThreshold(f"{where}: unknown key {', '.join(unknown)}; allowed keys: {_ALLOWED}")
    query = item.get("query")
    if not isinstance(query, str) or not query.strip():
        raise InvalidThreshold(f"{where}: query is missing; it must be a JMESPath query such as facts.gpus.count")
    bounds = {name: item[name] for name in BOUNDS if name in item and (name == "equals" or item[name] is not None)}
    if not bounds:
        raise InvalidThreshold(f"{where} ({query}): set at least one of min, max, equals")
    for name, limit in bounds.items():
        if name != "equals" and not _is_number(limit):
            raise InvalidThreshold(f"{where} ({query}): {name} must be a number, got {limit!r}")
    if {"min", "max"} <= bounds.keys() and bounds["min"] > bounds["max"]:
        raise InvalidThreshold(
            f"{where} ({query}): min must not be greater than max, got min {bounds['min']} and max {bounds['max']}"
        )
    message = item.get("message")
    return Threshold(query, _compiled(query, where), bounds, None if message is None else str(message))


def _compiled(query: str, where: str) -> t.Any:
    if JMESPATH_MISSING is not None:
        raise InvalidThreshold(f"{where}: thresholds require the Python library jmespath on the controller")
    try:
        expression = jmespath.compile(query)
    except JMESPathError as problem:
        detail = " ".join(str(problem).split())
        raise InvalidThreshold(f"{where}: invalid JMESPath query {query!r}: {detail}") from problem
    for name, count in _calls(expression.parsed):
        function = Functions.FUNCTION_TABLE.get(name)
        if function is None:
            raise InvalidThreshold(f"{where}: unknown JMESPath function {name}() in {query!r}")
        signature = function["signature"]
        variadic = bool(signature) and signature[-1].get("variadic", False)
        if count < len(signature) or (count > len(signature) and not variadic):
            raise InvalidThreshold(f"{where}: {name}() takes {len(signature)} arguments, but {query!r} passes {count}")
    return expression


def _calls(node: t.Any) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of arguments of each function call.

    JMESPath itself reports an unknown function or a wrong number of arguments only when it evaluates the query.
    """
    if isinstance(node, Mapping):
        if node.get("type") == "function_expression":
            yield str(node["value"]), len(node["children"])
        for child in node.get("children") or ():
            yield from _calls(child)
        if isinstance(node.get("value"), Mapping):
            yield from _calls(node["value"])


def evaluate(document: Mapping[str, t.Any], items: Sequence[t.Any]) -> list[Finding]:
    """Check ``document``, one host's entry in the report, against each threshold. Return one finding per threshold.

    :raises InvalidThreshold: if a threshold is invalid.
    """
    return [_judge(document, parse(item, number)) for number, item in enumerate(items, start=1)]


def _judge(document: Mapping[str, t.Any], threshold: Threshold) -> Finding:
    label = threshold.message or threshold.query
    figures: dict[str, t.Any] = {"expected": threshold.text, "source": "validate_thresholds"}
    evidence = {"query": threshold.query}
    try:
        result = threshold.expression.search(document)
    except JMESPathError as problem:
        return not_tested(CHECK, f"{label}: {' '.join(str(problem).split())}", evidence=evidence, **figures)
    figures["measured"] = result
    # If ``equals`` is a list, compare it with the whole result. Otherwise, if the result is a list, check each element.
    whole = not isinstance(result, list) or isinstance(threshold.bounds.get("equals"), list)
    values = [result] if whole else result
    if not values or any(value is None for value in values):
        return not_tested(CHECK, f"{label}: the query has no result", evidence=evidence, **figures)
    others = [value for value in values if threshold.numeric and not _is_number(value)]
    if others:
        return not_tested(CHECK, f"{label}: {others[0]!r} is not a number", evidence=evidence, **figures)
    broken = [value for value in values if threshold.broken_by(value)]
    if not broken:
        return passed(CHECK, f"{label}: {_shown(values)} is {threshold.text}", evidence=evidence, **figures)
    return failed(
        CHECK,
        f"{label}: {_shown(broken)} is not {threshold.text}",
        evidence={**evidence, "values": values},
        cause="A limit in validate_thresholds is not met.",
        remedy="See the section that measures this value. If the limit is too strict, change it in "
        "validate_thresholds.",
        **figures,
    )


def _shown(values: Sequence[t.Any]) -> str:
    return ", ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
