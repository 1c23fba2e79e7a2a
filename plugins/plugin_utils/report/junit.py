# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the report as JUnit XML for CI pipelines, with one test suite per node and one test case per check.

Requires junitparser, which is imported only if this format is requested.
"""

from __future__ import annotations

import io
import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import CHECKS, worst
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import tables, text

if t.TYPE_CHECKING:
    from junitparser import TestCase

Document = Mapping[str, t.Any]
Findings = Sequence[Document]

#: Characters that XML 1.0 cannot represent.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def report_junit(document: Document) -> str:
    """Return the report as JUnit XML.

    A failed check becomes a failure, a failed measurement an error, and a check that was not run a skipped test case.
    A warning becomes a passed test case with the warning in its output, because JUnit has no status for warnings.
    """
    from junitparser import JUnitXml, TestSuite

    report = JUnitXml("multigpu.vllm")
    suites = {f"group {name}": _cases(f"group {name}", group["findings"]) for name, group in document["groups"].items()}
    suites |= {name: _node_cases(name, document["hosts"][name]) for name in tables.worst_first(document)}
    for name, cases in [*suites.items(), ("fleet", _cases("fleet", document["fleet"]["findings"]))]:
        suite = TestSuite(_clean(name))
        suite.timestamp = document["run"]["time"]
        suite.add_testcases(list(cases))
        report.add_testsuite(suite)
    file = io.BytesIO()
    report.write(file, pretty=True)
    return file.getvalue().decode()


def _node_cases(name: str, node: Document) -> Iterator[TestCase]:
    from junitparser import Error, TestCase

    for error in node["errors"]:
        case = TestCase(error["module"], classname=_clean(f"{name}.measurement"))
        case.result = [Error(_clean(error["reason"]))]
        yield case
    yield from _cases(name, [finding for section in node["sections"] for finding in section["findings"]])


def _cases(suite: str, findings: Findings) -> Iterator[TestCase]:
    """Yield one test case per check; several findings of the same check are merged, and the worst status applies."""
    from junitparser import Failure, Skipped, TestCase

    by_check: dict[str, list[Document]] = {}
    for finding in findings:
        by_check.setdefault(finding["check"], []).append(finding)
    for check, group in by_check.items():
        status = worst(item["status"] for item in group).value
        area = check.partition(".")[0]
        case = TestCase(CHECKS[check].title, classname=_clean(f"{suite}.{area}"))
        message, details = _clean(group[0]["summary"]), _clean("\n\n".join(_details(item) for item in group))
        if status == "fail":
            case.result = [Failure(message, type_=check)]
            case.result[0].text = details
        elif status == "not_tested":
            case.result = [Skipped(message)]
        else:
            case.system_out = f"warning: {details}" if status == "warn" else details
        yield case


def _details(finding: Document) -> str:
    lines = [finding["summary"], f"Measured: {figure}" if (figure := text.figure(finding).strip(" []")) else ""]
    lines += [f"{label}: {finding[key]}" for label, key in (("Cause", "cause"), ("Fix", "remedy")) if finding[key]]
    return "\n".join(line for line in lines if line)


def _clean(value: t.Any) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", str(value))
