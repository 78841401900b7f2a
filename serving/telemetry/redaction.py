"""A person's own words, kept out of what is written down. The standard library alone: also for other environments."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterable

HIDDEN = "[hidden]"
_SHORTEST = 3
"""Characters: a shorter text would be found everywhere."""
_WORD = re.compile(r"[^\W_]{3,}")


def hide(line: str, texts: Iterable[str]) -> str:
    """The line without the texts, as they are and as Python and JSON write them."""
    for text in sorted(texts, key=len, reverse=True):
        if len(text) < _SHORTEST:
            continue
        for form in (text, repr(text)[1:-1], json.dumps(text)[1:-1]):
            line = line.replace(form, HIDDEN)
    return line


def traceback_without(error: BaseException, texts: Iterable[str]) -> str:
    """Where the fault is, and of what kind; what it says only if no word of the texts is in it.

    An error's message may repeat what it was given, in part, or escaped any number of times.
    """
    shown, words = "".join(traceback.format_exception(error)), _words(texts)
    for one in _chain(error):
        message = "".join(traceback.format_exception_only(one))
        if any(word in message.casefold() for word in words):
            shown = shown.replace(message, f"{type(one).__name__}: {HIDDEN}\n")
    return shown


def _chain(error: BaseException) -> list[BaseException]:
    """The error and those before it."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__]
    return found


def _words(texts: Iterable[str]) -> set[str]:
    """In small letters, as they are and as escapes write them."""
    words = {word for text in texts for word in _WORD.findall(text)}
    escaped = {form for word in words for form in (json.dumps(word)[1:-1], ascii(word)[1:-1])}
    return {word.casefold() for word in words | escaped}
