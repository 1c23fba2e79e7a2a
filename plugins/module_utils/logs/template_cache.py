# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cache which faults log lines show, so that similar lines, which differ only in numbers, are not parsed again."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.grep_patterns import minimal
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_fault import LogFault

_DIGITS = b"0123456789"
#: Hexadecimal digits, which also occur in identifiers and addresses.
_HEX_DIGITS = _DIGITS + b"abcdefABCDEF"
#: Maximum number of templates in the cache.
_MAX_TEMPLATES = 4096
#: Maximum length in bytes of a line whose meaning is cached.
_MAX_LENGTH = 2048


def as_in_templates(substrings: Sequence[str]) -> list[bytes]:
    """Return ``substrings`` without hexadecimal digits, to search log lines from which these digits were removed.

    If one shortened substring contains another, only the shorter of the two is returned.
    """
    return minimal([substring.encode().translate(None, _HEX_DIGITS) for substring in substrings])


def without_decimal_digits(substrings: Sequence[str]) -> list[bytes]:
    """Return those of ``substrings`` that contain decimal digits, without these digits."""
    texts = [substring.encode() for substring in substrings]
    return [short for text in texts if (short := text.translate(None, _DIGITS)) != text]


@dataclass(eq=False, slots=True)
class LineTemplate:
    """A group of log lines that differ only in numbers, and the faults that these lines show.

    Each line is another occurrence of ``faults``. ``count`` is the number of lines that have not been added to the
    faults yet, and ``last`` is the last of these lines. ``numbers`` are patterns of the significant numbers: lines that
    differ in a significant number may have different meanings.
    """

    faults: tuple[LogFault, ...] = ()
    numbers: tuple[re.Pattern[bytes], ...] = ()
    count: int = 0
    last: bytes = b""

    def add(self, number: int, last: bytes) -> None:
        """Count ``number`` lines, of which ``last`` is the last one."""
        self.count += number
        self.last = last


#: The meaning of lines that show neither a fault nor a fact.
NO_MATCH: t.Final = LineTemplate()
#: The meaning of lines that must always be parsed, either for faults and facts or only for facts.
ALWAYS_PARSE: t.Final = LineTemplate()
FACTS_ONLY: t.Final = LineTemplate()


class PendingLine(t.NamedTuple):
    """A log line that must be parsed. ``template`` is the cache entry for similar lines, or None without such an entry.

    ``key`` and ``exact_key`` are the keys under which the cache can store the meaning: ``key`` for all lines of the
    template, and ``exact_key`` for lines with the same significant numbers or letters. ``exact_key`` is None if the
    meaning must not be stored.
    """

    number: int
    text: bytes
    template: LineTemplate | None
    key: bytes = b""
    exact_key: bytes | None = None
    numbers: tuple[re.Pattern[bytes], ...] = ()


def _exact_key(key: bytes, numbers: Sequence[re.Pattern[bytes]], match: bytes) -> bytes:
    """Return the key of the lines with the template ``key`` that have the same significant numbers as ``match``."""
    # The empty part keeps the key of a line without any significant number apart from that of its template.
    return b"\n".join([key, b"", *[value for pattern in numbers for value in pattern.findall(match)]])


@dataclass
class TemplateCache:
    """A cache of the faults that log lines show, by template. A template is a log line without hexadecimal digits.

    Each template is in one of three states:

    - skip (``NO_MATCH``): the lines show neither a fault nor a fact.
    - count (``faults`` is set): the lines are further occurrences of these faults, so they are only counted.
    - parse: the meaning is not known yet, every line must be parsed (``ALWAYS_PARSE``, ``FACTS_ONLY``), or the meaning
      depends on the significant ``numbers``. In the last case, the template also has a state for each combination of
      these numbers.

    ``source`` is the name of the file that contains the lines.

    :param all_substrings: the substrings for which the log filter searches, converted by ``as_in_templates``.
    :param substrings_with_digits: those of them that contained decimal digits, without these digits only.
    :param fault_substrings: the subset of ``all_substrings`` that occurs in lines with faults.
    :param significant_numbers: patterns of the numbers that can change the meaning of a line.
    """

    all_substrings: Sequence[bytes]
    substrings_with_digits: Sequence[bytes]
    fault_substrings: Sequence[bytes]
    significant_numbers: Sequence[re.Pattern[bytes]]
    source: str | None = None
    _templates: dict[bytes, LineTemplate] = field(default_factory=dict, init=False)

    def lines_to_parse(self, matches: bytes) -> Iterator[PendingLine]:
        """Yield the lines that must be parsed. Of the other lines, count those that show a known fault.

        :param matches: lines in the form ``<number>:<line>\\n``. The number is not part of the template.
        """
        get = self._templates.get
        keys, lines = matches.translate(None, _HEX_DIGITS).split(b"\n"), matches.split(b"\n")
        # Similar lines often follow each other. Such a run is looked up once, and its lines are counted at its end.
        run: bytes | None = None
        counted, start = NO_MATCH, 0
        for index, key in enumerate(keys):
            if key == run:
                continue
            if counted is not NO_MATCH:
                counted.add(index - start, lines[index - 1])
                counted = NO_MATCH
            template = get(key)
            if template is not None and (template is NO_MATCH or template.faults):
                run, counted, start = key, template, index
                continue
            run, match = None, lines[index]
            if template is not None and template.numbers:
                exact = get(_exact_key(key, template.numbers, match))
                if exact is not None:
                    if exact is not NO_MATCH:
                        exact.add(1, match)
                    continue
            if match and (line := self._pending(key, template, match)):
                yield line

    def _pending(self, key: bytes, template: LineTemplate | None, match: bytes) -> PendingLine | None:
        """Return the line if it must be parsed, or None if the cache already contains the meaning of this line."""
        before, _colon, text = match.partition(b":")
        number = int(before)
        if template in (ALWAYS_PARSE, FACTS_ONLY) or len(text) > _MAX_LENGTH or b"\r" in text:
            return PendingLine(number, text, template)
        if template is not None:
            numbers = template.numbers
        else:
            exact_key = b"\n" + text.translate(None, _DIGITS)
            if self._templates.get(exact_key) is NO_MATCH:
                return None
            numbers = tuple(pattern for pattern in self.significant_numbers if pattern.search(text))
        if numbers:
            exact_key = _exact_key(key, numbers, match)
        return PendingLine(number, text, template, key, exact_key, numbers)

    def remember(self, line: PendingLine, meaning: LineTemplate | None) -> None:
        """Store the ``meaning`` of ``line`` and similar lines. If ``meaning`` is None (unknown), store nothing."""
        if line.exact_key is None:
            return
        if meaning is ALWAYS_PARSE:
            may_be_fault = any(substring in line.key for substring in self.fault_substrings)
            self._store(line.key, ALWAYS_PARSE if may_be_fault else FACTS_ONLY)
        elif line.numbers:
            self._store(line.key, line.template or LineTemplate(numbers=line.numbers))
            self._store(line.exact_key, meaning)
        elif meaning is NO_MATCH and any(substring in line.key for substring in self.all_substrings):
            # Only lines that differ from this line in nothing but decimal digits certainly have the same meaning. Even
            # these may not, if the digits may belong to a substring that the filter searches, such as "Channel 00/".
            if not any(substring in line.exact_key for substring in self.substrings_with_digits):
                self._store(line.exact_key, meaning)
        else:
            self._store(line.key, meaning)

    def _store(self, key: bytes, template: LineTemplate | None) -> None:
        if template is None:
            return
        if len(self._templates) >= _MAX_TEMPLATES:
            self.forget()
        self._templates[key] = template

    def flush_counts(self) -> None:
        """Increase the ``count`` of each fault by the number of lines that showed this fault but were not parsed."""
        for template in self._templates.values():
            if template.count:
                number = int(template.last.partition(b":")[0])
                for fault in template.faults:
                    fault.count += template.count
                    if self.source != fault.last_source or number > fault.last_line:
                        fault.last_line, fault.last_source = number, self.source
                template.count = 0

    def forget(self) -> None:
        """Remove all templates from the cache, because their lines may show other faults or facts after a restart."""
        self.flush_counts()
        self._templates.clear()
