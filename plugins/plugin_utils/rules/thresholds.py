# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of the user's own: JMESPath queries over the result document of one host. Nothing in them is ever executed.

A query that gives a list is about every element of it; one that gives nothing was not measured, which is no pass.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed

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


@dataclass(frozen=True)
class Bound:
    """One side of a limit: how it is said, and when a value keeps it. ``numeric`` bounds need numbers."""

    words: str
    holds: Callable[[t.Any, t.Any], bool]
    numeric: bool = True


BOUNDS: t.Final[dict[str, Bound]] = {
    "min": Bound("at least", lambda value, limit: value >= limit),
    "max": Bound("at most", lambda value, limit: value <= limit),
    "equals": Bound("equal to", lambda value, limit: bool(value == limit), numeric=False),
}


class InvalidThreshold(ValueError):
    """A threshold that cannot be; the message names its place and what is wrong."""


@dataclass(frozen=True)
class Threshold:
    """A compiled query with at least one bound; ``message`` is what to say where it does not hold."""

    query: str
    expression: t.Any
    bounds: Mapping[str, t.Any] = field(default_factory=dict)
    message: str | None = None

    @property
    def words(self) -> str:
        """``at least 100 and at most 200``."""
        return " and ".join(f"{BOUNDS[name].words} {limit}" for name, limit in self.bounds.items())

    @property
    def numeric(self) -> bool:
        return any(BOUNDS[name].numeric for name in self.bounds)

    def broken_by(self, value: t.Any) -> bool:
        return not all(BOUNDS[name].holds(value, limit) for name, limit in self.bounds.items())


def problems(items: t.Any) -> list[str]:
    """What is wrong with ``validate_thresholds``, in words; empty where nothing is."""
    if not isinstance(items, Sequence) or isinstance(items, str):
        return [f"validate_thresholds is a list of queries with limits, not {type(items).__name__}"]
    found = []
    for number, item in enumerate(items, start=1):
        try:
            parse(item, number)
        except InvalidThreshold as problem:
            found.append(str(problem))
    return found


def parse(item: t.Any, number: int = 1) -> Threshold:
    """The threshold ``number`` of the list.

    :raises InvalidThreshold: for a wrong shape, a query that is no JMESPath, an unknown function.
    """
    where = f"validate_thresholds, entry {number}"
    if not isinstance(item, Mapping):
        raise InvalidThreshold(f"{where}: {item!r} is no mapping; it may have {_ALLOWED}")
    unknown = [str(key) for key in item if key not in (*BOUNDS, "query", "message")]
    if unknown:
        raise InvalidThreshold(f"{where}: unknown key {', '.join(unknown)}; it may have {_ALLOWED}")
    query = item.get("query")
    if not isinstance(query, str) or not query.strip():
        raise InvalidThreshold(f"{where}: query is missing; it is a JMESPath text such as facts.gpus.count")
    bounds = {name: item[name] for name in BOUNDS if name in item and not (name != "equals" and item[name] is None)}
    if not bounds:
        raise InvalidThreshold(f"{where} ({query}): give at least one of min, max, equals")
    for name, limit in bounds.items():
        if BOUNDS[name].numeric and not _is_number(limit):
            raise InvalidThreshold(f"{where} ({query}): {name} is {limit!r}, not a number")
    message = item.get("message")
    return Threshold(query, _compiled(query, where), bounds, None if message is None else str(message))


def _compiled(query: str, where: str) -> t.Any:
    if JMESPATH_MISSING is not None:
        raise InvalidThreshold(f"{where}: thresholds need the Python library jmespath on the controller")
    try:
        expression = jmespath.compile(query)
    except JMESPathError as problem:
        detail = " ".join(str(problem).split())
        raise InvalidThreshold(f"{where}: {query!r} is not a JMESPath query: {detail}") from problem
    for name, given in _calls(expression.parsed):
        known = Functions.FUNCTION_TABLE.get(name)
        if known is None:
            raise InvalidThreshold(f"{where}: {query!r} calls {name}(), which JMESPath does not have")
        signature = known["signature"]
        variadic = bool(signature) and signature[-1].get("variadic", False)
        if given < len(signature) or (given > len(signature) and not variadic):
            raise InvalidThreshold(f"{where}: {query!r} gives {name}() {given} arguments, it takes {len(signature)}")
    return expression


def _calls(node: t.Any) -> Iterator[tuple[str, int]]:
    """Every function call in a syntax tree: name and number of arguments. JMESPath checks them only when it runs."""
    if isinstance(node, Mapping):
        if node.get("type") == "function_expression":
            yield str(node["value"]), len(node["children"])
        for child in node.get("children") or ():
            yield from _calls(child)
        if isinstance(node.get("value"), Mapping):
            yield from _calls(node["value"])


def evaluate(document: Mapping[str, t.Any], items: Sequence[t.Any]) -> list[Finding]:
    """One finding for each threshold over ``document``, the entry of one host in the report.

    :raises InvalidThreshold: for a threshold that cannot be.
    """
    return [_judge(document, parse(item, number)) for number, item in enumerate(items, start=1)]


def _judge(document: Mapping[str, t.Any], threshold: Threshold) -> Finding:
    label = threshold.message or threshold.query
    figures: dict[str, t.Any] = {"expected": threshold.words, "source": "validate_thresholds"}
    evidence = {"query": threshold.query}
    try:
        answer = threshold.expression.search(document)
    except JMESPathError as problem:
        return not_tested(CHECK, f"{label}: {' '.join(str(problem).split())}", evidence=evidence, **figures)
    figures["measured"] = answer
    # A list that is to equal a list is compared as a whole.
    whole = not isinstance(answer, list) or isinstance(threshold.bounds.get("equals"), list)
    values = [answer] if whole else answer
    if not values or any(value is None for value in values):
        return not_tested(CHECK, f"{label}: the report has no value for it", evidence=evidence, **figures)
    strange = [value for value in values if threshold.numeric and not _is_number(value)]
    if strange:
        return not_tested(CHECK, f"{label}: {strange[0]!r} is not a number", evidence=evidence, **figures)
    broken = [value for value in values if threshold.broken_by(value)]
    if not broken:
        return passed(CHECK, f"{label}: {_shown(values)} is {threshold.words}", evidence=evidence, **figures)
    return failed(
        CHECK,
        f"{label}: {_shown(broken)} is not {threshold.words}",
        evidence={**evidence, "values": values},
        cause="A limit of your own does not hold.",
        remedy="See the section that measures it; if the limit is too strict, change it in validate_thresholds.",
        **figures,
    )


def _shown(values: Sequence[t.Any]) -> str:
    return ", ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
