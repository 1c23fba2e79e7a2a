# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the report formats and render them from the result document."""

from __future__ import annotations

import importlib.util
import json
import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import jinja2
from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import printable
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import lost_document, report_document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.html import report_html
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.junit import report_junit
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.prometheus import report_prometheus
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.text import report_text
from ansible_collections.multigpu.vllm.plugins.plugin_utils.results import SENSELESS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.recorded_answers import RecordedAnswers

Document = Mapping[str, t.Any]


@dataclass(frozen=True)
class Format:
    """A report format, with its file name in the report directory and the PyPI package that it requires, if any."""

    file: str
    render: Callable[[Document], str]
    package: str | None = None


def _report_json(document: Document) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


#: Report formats by name. The terminal summary lists the files in this order, files for human readers first.
FORMATS: t.Final[dict[str, Format]] = {
    "text": Format("validation-report.txt", report_text),
    "html": Format("report.html", report_html),
    "json": Format("report.json", _report_json),
    "junit": Format("report.junit.xml", report_junit, "junitparser"),
    "prometheus": Format("report.prom", report_prometheus, "prometheus-client"),
}

DEFAULT: t.Final = ("json", "text", "html")


def errors(names: Iterable[str]) -> list[str]:
    """Return one error message for each format that is unknown or whose Python package is missing."""
    return [error for name in names if (error := _error(name))]


def _error(name: str) -> str | None:
    if name not in FORMATS:
        return f"unknown report format {name!r}; must be one of {', '.join(FORMATS)}"
    package = FORMATS[name].package
    if package is None or importlib.util.find_spec(package.replace("-", "_")) is not None:
        return None
    return f"report format {name} needs the Python package {package} on the control node: pip install {package}"


def rendered(document: Document, names: Iterable[str]) -> dict[str, str]:
    """Return the JSON report and the other requested reports, keyed by file name, in the order of ``FORMATS``."""
    selected = {"json", *names}
    return {chosen.file: chosen.render(document) for name, chosen in FORMATS.items() if name in selected}


def fleet_report(
    hosts: Mapping[str, Document | None],
    names: Iterable[str],
    *,
    run: Mapping[str, t.Any],
    secrets: Collection[t.Any] = (),
    earlier: Mapping[str, tuple[str, Document]] = MappingProxyType({}),
    answers: Mapping[str, RecordedAnswers] = MappingProxyType({}),
) -> tuple[dict[str, t.Any], dict[str, str]]:
    """Return the result document, and the reports from it as ``rendered`` returns them.

    An entry in ``hosts`` that cannot be rendered is replaced by an entry that contains the reason.

    ``run``, ``secrets``, ``earlier`` and ``answers`` are those of ``report_document``.
    """
    names = list(names)

    def render(chosen: Mapping[str, Document | None]) -> tuple[dict[str, t.Any], dict[str, str]]:
        compared = {name: item for name, item in earlier.items() if name in chosen}
        own = {name: item for name, item in answers.items() if name in chosen}
        document = report_document(chosen, run=run, secrets=secrets, earlier=compared, answers=own)
        return document, rendered(document, names)

    def checked(name: str) -> Document | None:
        try:
            render({name: hosts[name]})
        except (*SENSELESS, jinja2.TemplateError) as error:
            reason = printable(f"invalid result: the report cannot contain it ({type(error).__name__}: {error})")
            return {**lost_document(reason), "reachable": True}
        return hosts[name]

    try:
        return render(hosts)
    except (*SENSELESS, jinja2.TemplateError):
        return render({name: checked(name) for name in hosts})
