"""What Spark's CAST reads from a text, where DuckDB's own reads something else.

After Spark's ``StringUtils`` (isTrueString), ``UTF8String`` (toLong) and ``SparkDateTimeUtils``
(stringToDate, parseTimestampString, getZoneId), and Java's ``Double.parseDouble``. Dates and times
outside of the years 1 to 9999 are None: a dataset cannot hold them.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

_BOOLEANS = {
    **dict.fromkeys(("t", "true", "y", "yes", "1"), True),
    **dict.fromkeys(("f", "false", "n", "no", "0"), False),
}
# What Spark cuts off at both ends: white space and control characters of one byte.
BLANKS = "".join(map(chr, [*range(0x21), 0x7F]))

_BIGINT = re.compile(r"([+-]?[0-9]*)(\.[0-9]*)?")
_DATE = re.compile(r"(\+?)0{0,3}([0-9]{4})(?:-([0-9]{1,2})(?:-([0-9]{1,2})(?:[ T].*)?)?)?", re.S)
# A zone stands behind seconds only.
_MOMENT = re.compile(
    r"\+?0{0,2}([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})[ T]"
    r"([0-9]{1,2})(?::([0-9]{1,2})(?::([0-9]{1,2})(?:\.([0-9]*))?([^0-9.].*|))?)?",
    re.S,
)
_DAY = re.compile(r"\+?0{0,2}([0-9]{4})(?:-([0-9]{1,2})(?:-([0-9]{1,2}))?)?")
_OFFSET = re.compile(
    r"([+-])(?:([0-9]{1,2})|([0-9]{2})([0-9]{2})([0-9]{2})?|([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?)"
)
_PREFIXED = re.compile(r"(?:UTC|GMT|UT)([+-].*)?", re.S)
_DOUBLE = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEX_DOUBLE = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+")
_LONGEST_OFFSET = 18 * 3600
_NOT_IN_JAVA = {"Factory", "ROC", "localtime"}
# Java's ZoneId.SHORT_IDS.
_SHORT_NAMES = {
    "EST": "-05:00",
    "MST": "-07:00",
    "HST": "-10:00",
    "ACT": "Australia/Darwin",
    "AET": "Australia/Sydney",
    "AGT": "America/Argentina/Buenos_Aires",
    "ART": "Africa/Cairo",
    "AST": "America/Anchorage",
    "BET": "America/Sao_Paulo",
    "BST": "Asia/Dhaka",
    "CAT": "Africa/Harare",
    "CNT": "America/St_Johns",
    "CST": "America/Chicago",
    "CTT": "Asia/Shanghai",
    "EAT": "Africa/Addis_Ababa",
    "ECT": "Europe/Paris",
    "IET": "America/Indiana/Indianapolis",
    "IST": "Asia/Kolkata",
    "JST": "Asia/Tokyo",
    "MIT": "Pacific/Apia",
    "NET": "Asia/Yerevan",
    "NST": "Pacific/Auckland",
    "PLT": "Asia/Karachi",
    "PNT": "America/Phoenix",
    "PRT": "America/Puerto_Rico",
    "PST": "America/Los_Angeles",
    "SST": "Pacific/Guadalcanal",
    "VST": "Asia/Ho_Chi_Minh",
}


def boolean_of(text: str) -> bool | None:
    """``yes``, ``T``, ``0``, … in any case."""
    return _BOOLEANS.get(text.strip(BLANKS).lower())


def bigint_of(text: str) -> int | None:
    """A whole number; what follows a decimal point is cut off, and nothing before it is 0."""
    found = _BIGINT.fullmatch(text.strip(BLANKS))
    if not found or (not found[2] and found[1] in ("", "+", "-")):
        return None
    digits = found[1].lstrip("+-").lstrip("0")
    if len(digits) > 19:  # and Python refuses to read thousands of them
        return None
    value = int(digits or "0") * (-1 if found[1].startswith("-") else 1)
    return value if -(2**63) <= value < 2**63 else None


def strict_bigint_of(text: str) -> int | None:
    """A whole number, as TRY_CAST has it."""
    return None if "." in text else bigint_of(text)


def date_of(text: str) -> date | None:
    """``2020-1-2``, ``2020-01``, ``2020``, and a date with anything behind ``T`` or a blank."""
    found = _DATE.fullmatch(text.strip(BLANKS))
    return found and _day(*found.groups()[1:])


def timestamp_of(text: str) -> datetime | None:
    """A date, and a time behind ``T`` or a blank; without a zone it is in UTC. A time alone, which
    Spark takes for one of today, is None."""
    text = text.strip(BLANKS)
    only_day = _DAY.fullmatch(text)
    if only_day:
        day = _day(*only_day.groups())
        return None if day is None else datetime(day.year, day.month, day.day)
    found = _MOMENT.fullmatch(text)
    if not found:
        return None
    *parts, fraction, zone_name = found.groups()
    micros = int((fraction or "").ljust(6, "0")[:6])
    try:
        zone = _zone(zone_name.strip(BLANKS)) if zone_name else UTC
        local = datetime(*(int(part or 0) for part in parts), micros, tzinfo=zone)  # type: ignore[arg-type, misc]
        return local.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def double_of(text: str) -> float | None:
    """A decimal or hexadecimal number as Java writes it, with ``d`` or ``f`` behind it or not; None
    also for NaN and infinities."""
    text = text.strip(BLANKS[:-1])
    number = text[:-1] if text[-1:] in ("d", "D", "f", "F") else text
    try:
        if _HEX_DOUBLE.fullmatch(number):
            value = float.fromhex(number)
        elif _DOUBLE.fullmatch(number):
            value = float(number)
        else:
            return None
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _day(year: str, month: str | None, day: str | None) -> date | None:
    try:
        return date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return None


@cache
def _zone(name: str) -> tzinfo:
    """Raises ValueError for what is no zone."""
    name = _SHORT_NAMES.get(name, name)
    # Hours and minutes of one digit.
    name = re.sub(r"([+-])([0-9]):", r"\g<1>0\2:", name, count=1)
    name = re.sub(r"([+-])([0-9]{2}):([0-9])$", r"\1\2:0\3", name, count=1)
    if name == "Z":
        return UTC
    prefixed = _PREFIXED.fullmatch(name)
    if prefixed:
        return _offset(prefixed[1]) if prefixed[1] else UTC
    if name[:1] in ("+", "-"):
        return _offset(name)
    if name not in _regions():
        raise ValueError(name)
    return ZoneInfo(name)


@cache
def _regions() -> set[str]:
    return available_timezones() - _NOT_IN_JAVA


def _offset(text: str) -> tzinfo:
    found = _OFFSET.fullmatch(text)
    if not found:
        raise ValueError(text)
    sign, *parts = found.groups()
    hours, minutes, seconds = ([part for part in parts if part] + ["0", "0"])[:3]
    if int(minutes) > 59 or int(seconds) > 59:
        raise ValueError(text)
    shift = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    if shift > _LONGEST_OFFSET:
        raise ValueError(text)
    return timezone(timedelta(seconds=-shift if sign == "-" else shift))
