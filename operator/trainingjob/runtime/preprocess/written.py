"""How people and other programs write numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Blanks of one kind or the other, which also stand between groups of digits.
_BLANK = "[ \t\u00a0\u2009\u202f]"
_SIGN = "[+\u2212-]"
MINUS = "\u2212-"
# The most usual of Unicode's category Sc.
_CURRENCIES = "[$¢£¤¥฿₠-⃀]"


@dataclass(frozen=True)
class Written:
    """How numbers are written: regular expressions of the syntax that RE2 and Java share.

    Whatever stands beside the number has no digit, so that in a text that is ``whole`` the number
    is what ``number`` finds first."""

    decimal: str = "."
    units: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """A mark between groups of digits."""
        other = "," if self.decimal == "." else "."
        return f"[{other}'\u2019 \u00a0\u2009\u202f]"

    @property
    def number(self) -> str:
        """Digits with their marks, and an exponent."""
        mark = re.escape(self.decimal)
        grouped = f"[0-9]{{1,3}}(?:{self.group}[0-9]{{2,3}})*{self.group}[0-9]{{3}}"
        digits = f"(?:(?:{grouped}|[0-9]+)(?:{mark}[0-9]*)?|{mark}[0-9]+)"
        return f"{digits}(?:[eE][+-]?[0-9]+)?"

    @property
    def whole(self) -> str:
        """The whole text: a sign, a currency or a unit, and parentheses for what is negative."""
        unit = "|".join([r"\p{Sc}", *(re.escape(one) for one in self.units)])
        before = f"(?:(?:{unit}){_BLANK}*)?"
        after = f"(?:{_BLANK}*(?:%|{unit}))?"
        sign = f"(?:{_SIGN}{_BLANK}*)?"
        plain = f"(?:{sign}{before}|{before}{sign}){self.number}{after}"
        negative = rf"{before}\({_BLANK}*{before}{self.number}{after}{_BLANK}*\){after}"
        return f"{_BLANK}*(?:{plain}|{negative}){_BLANK}*"

    def fits(self, text: str) -> bool:
        """Whether a text is a number, as far as Python's expressions can tell."""
        return re.fullmatch(self.whole.replace(r"\p{Sc}", _CURRENCIES), text, re.DOTALL) is not None
