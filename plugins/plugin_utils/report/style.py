# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How text reports look: symbols with an ASCII fallback, colour by status, fitting into 80 columns."""

from __future__ import annotations

import re
import textwrap
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible import constants
from ansible.utils.color import stringc

WIDTH: t.Final = 80

#: Colours a piece of text by its status; the text's visible length stays.
Paint = Callable[[str, str], str]

#: Status -> word in the report. Wrong verdicts shout, so that they are seen without colour.
WORDS: t.Final[dict[str, str]] = {"pass": "pass", "warn": "WARN", "fail": "FAIL", "not_tested": "not tested"}


#: Control characters of both sets: escape sequences begin with them.
_CONTROLS: t.Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def one_line(text: str) -> str:
    """``text`` without line ends, and without what would steer a terminal: much of it comes from a node."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


def plain(text: str, status: str) -> str:
    """No colour."""
    return text


@dataclass(frozen=True)
class Style:
    """Symbols and colour of one output."""

    symbols: dict[str, str] = field(default_factory=lambda: {"pass": "✓", "warn": "!", "fail": "✗", "not_tested": "–"})
    rule: str = "─"
    heavy: str = "━"
    full: str = "█"
    empty: str = "░"
    dot: str = " · "
    times: str = "×"
    ellipsis: str = "…"
    paint: Paint = plain
    ascii_only: bool = False

    def fit(self, text: str, width: int) -> str:
        """``text`` on one line of at most ``width`` columns."""
        text = self.clean(one_line(text))
        if len(text) <= width:
            return text
        return text[: max(0, width - len(self.ellipsis))].rstrip(" ,;:") + self.ellipsis

    def clean(self, text: str) -> str:
        return text.encode("ascii", "replace").decode() if self.ascii_only else text

    def wrap(self, text: str, first: str, rest: str | None = None, width: int = WIDTH) -> list[str]:
        """``text`` in lines of at most ``width`` columns, the first behind ``first``, the others behind ``rest``.

        A hyphen is no place to break: it stands in the names of hosts and options, which people copy.
        """
        hang = " " * len(first) if rest is None else rest
        return textwrap.wrap(
            self.clean(one_line(str(text))),
            width,
            initial_indent=first,
            subsequent_indent=hang,
            break_on_hyphens=False,
        ) or [first.rstrip()]

    def mark(self, status: str) -> str:
        return self.paint(self.symbols[status], status)

    def gauge(self, share: float | None, width: int) -> str:
        """A bar for ``share`` (0 to 1) of ``width`` columns; blank where it is unknown."""
        if share is None:
            return " " * width
        filled = round(min(max(share, 0.0), 1.0) * width)
        return self.full * filled + self.empty * (width - filled)

    def title(self, left: str, status: str, width: int = WIDTH, word: str | None = None) -> str:
        """A line with ``left`` and, flush right, the verdict, or ``word`` in its place."""
        word = f"{self.symbols[status]} {word or WORDS[status]}"
        margin = left[: len(left) - len(left.lstrip())]
        left = margin + self.fit(left, width - len(word) - len(margin) - 2)
        return f"{left}{' ' * (width - len(left) - len(word))}{self.paint(word, status)}"


UNICODE: t.Final = Style()
ASCII: t.Final = Style(
    symbols={"pass": "+", "warn": "!", "fail": "x", "not_tested": "-"},
    rule="-",
    heavy="=",
    full="#",
    empty=".",
    dot=", ",
    times="x",
    ellipsis="...",
    ascii_only=True,
)

_COLOURS: t.Final = {
    "pass": constants.COLOR_OK,
    "warn": "yellow",
    "fail": constants.COLOR_ERROR,
    "not_tested": constants.COLOR_SKIP,
}


def terminal_style(encoding: str | None) -> Style:
    """Symbols that ``encoding`` can show, in colour where Ansible shows colour."""
    base = UNICODE if (encoding or "").lower().replace("-", "") == "utf8" else ASCII
    return Style(**{**vars(base), "paint": lambda text, status: stringc(text, _COLOURS[status])})
