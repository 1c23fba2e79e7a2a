# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_fault import LogFault
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.template_cache import (
    ALWAYS_PARSE,
    FACTS_ONLY,
    NO_MATCH,
    LineTemplate,
    TemplateCache,
    as_in_templates,
    without_decimal_digits,
)

NUMBERS = (re.compile(rb"status=\d+"),)


def cache() -> TemplateCache:
    substrings = ["NCCL WARN", "Xid (", "Channel 00/"]
    return TemplateCache(
        as_in_templates(substrings), without_decimal_digits(substrings), as_in_templates(["Xid ("]), NUMBERS
    )


def pending(templates: TemplateCache, text: str) -> list[int]:
    return [line.number for line in templates.lines_to_parse(text.encode())]


def learn(templates: TemplateCache, text: str, meaning: LineTemplate | None) -> None:
    for line in templates.lines_to_parse(text.encode()):
        templates.remember(line, meaning)


def test_as_in_templates_removes_hexadecimal_digits() -> None:
    assert as_in_templates(["Xid (", "GPU Xid (", "NCCL"]) == [b"NL", b"Xi ("]


def test_template_no_match_skips_similar_lines() -> None:
    templates = cache()
    learn(templates, "1:quiet 17\n", NO_MATCH)
    assert pending(templates, "2:quiet 18\n3:other 1\n") == [3]


def test_template_with_faults_counts_similar_lines() -> None:
    templates, fault = cache(), LogFault("xid", "error", "Xid (1", 1, 1)
    templates.source = "vllm.log"
    learn(templates, "1:Xid (1\n", LineTemplate((fault,)))
    assert pending(templates, "2:Xid (2\n5:Xid (3\n") == []
    assert fault.count == 1
    templates.flush_counts()
    templates.flush_counts()
    assert (fault.count, fault.last_line, fault.last_source) == (3, 5, "vllm.log")


def test_template_with_faults_counts_lines_between_others() -> None:
    templates, fault = cache(), LogFault("xid", "error", "Xid (1", 1, 1)
    learn(templates, "1:Xid (1\n", LineTemplate((fault,)))
    learn(templates, "2:quiet 1\n", NO_MATCH)
    counts = [fault.count]
    for line in templates.lines_to_parse(b"3:Xid (1\n4:Xid (2\n5:quiet 2\n6:other\n7:Xid (3\n8:other\n9:Xid (4\n"):
        templates.flush_counts()
        counts.append(fault.count)
        assert line.text == b"other"
    templates.flush_counts()
    assert [*counts, fault.count, fault.last_line] == [1, 3, 4, 5, 9]


def test_template_unsettled_is_parsed_again() -> None:
    templates = cache()
    learn(templates, "1:Xid (1\n", None)
    assert pending(templates, "2:Xid (2\n") == [2]


def test_template_always_parse_keeps_faults_apart_from_facts() -> None:
    templates = cache()
    learn(templates, "1:fact 1\n2:Xid (1\n", ALWAYS_PARSE)
    lines = list(templates.lines_to_parse(b"3:fact 2\n4:Xid (2\n"))
    assert [line.template for line in lines] == [FACTS_ONLY, ALWAYS_PARSE]
    assert [line.exact_key for line in lines] == [None, None]


def test_template_significant_number_has_its_own_state() -> None:
    templates = cache()
    learn(templates, "1:end status=1 at 9\n", NO_MATCH)
    assert pending(templates, "2:end status=1 at 8\n3:end status=2 at 8\n") == [3]


def test_template_line_without_a_significant_number_does_not_settle_the_others() -> None:
    templates = cache()
    learn(templates, "1:end status=1 at 9\n2:end status= at 9\n", NO_MATCH)
    assert pending(templates, "3:end status=2 at 8\n4:end status= at 7\n") == [3]


def test_template_harmless_line_that_looks_like_a_fault_is_stored_exactly() -> None:
    templates = cache()
    learn(templates, "1:Xi (7\n", NO_MATCH)
    assert pending(templates, "2:Xi (8\n3:Xid (8\n") == [3]


def test_template_line_with_another_digit_than_a_substring_is_parsed_again() -> None:
    templates = cache()
    learn(templates, "1:Channel 01/02 : 0 1\n", NO_MATCH)
    assert pending(templates, "2:Channel 00/02 : 0 1\n") == [2]


def test_template_long_line_and_carriage_return_are_not_remembered() -> None:
    templates = cache()
    text = f"1:{'x' * 3000}\n2:a\rb\n"
    learn(templates, text, NO_MATCH)
    assert pending(templates, text) == [1, 2]


def test_forget_counts_and_removes_all_templates() -> None:
    templates, fault = cache(), LogFault("xid", "error", "Xid (1", 2, 2)
    learn(templates, "1:quiet\n", NO_MATCH)
    learn(templates, "2:Xid (1\n", LineTemplate((fault,)))
    assert pending(templates, "3:Xid (2\n") == []
    templates.forget()
    assert fault.count == 2
    assert pending(templates, "4:quiet\n5:Xid (2\n") == [4, 5]
