"""Names from outside, that pages, tables, figures and terminals show: what is refused, and how messages quote it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

LONGEST = 200  # characters of a name; longer ones are mistakes, and fit no figure
_TURNS = "\u202a-\u202e\u2066-\u2069"  # let text be shown in another order than it has
_UNSEEN = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff{_TURNS}]")
_QUOTED = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff{_TURNS}]")  # all but tabs and line breaks
_SHOWN = 60


def fault(name: str, longest: int = LONGEST) -> str:
    """Tell why a text cannot be a name of something, empty where it can: a tab or line break would break tables, for one."""
    if len(name) > longest:
        return f"'{escaped(name[:_SHOWN])}...' has {len(name)} characters, more than {longest}"
    if found := _UNSEEN.search(name):
        what = unicodedata.name(found[0], "a control character").lower()
        return f"{name[:_SHOWN]!a} holds {what} (U+{ord(found[0]):04X})"
    return ""


def faults(names: Iterable[str]) -> list[str]:
    """Tell why names of several things cannot be used together: faults of each, and such as cannot be told apart by eye."""
    found, looks = [], {}
    for name in dict.fromkeys(names):
        if told := fault(name):
            found.append(told)
        elif (same := looks.setdefault(unicodedata.normalize("NFC", name), name)) != name:
            found.append(f"{same!a} and {name!a} look the same; write them alike")
    return found


def escaped(text: str) -> str:
    """The text with characters that could steer a terminal written as codes."""
    return _QUOTED.sub(lambda found: ascii(found[0])[1:-1], text)
