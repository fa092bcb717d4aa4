"""Regular expressions from the control plane.

A pattern is RE2 syntax and matches a whole value (gRFC A28, A63). Patterns that say no more than a plain
string comparison (``/pkg\\.Service/.*``, ``.*canary.*``) become one; the others run in google-re2, in linear
time. Python's
:mod:`re` never sees a pattern: a configuration could drive it to exponential time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from .._matcher import StringTest
from ..errors import ConfigError, missing_extra

_META = frozenset("\\.+*?()|[]{}^$")
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")

CACHED_RESULTS = 512
LONGEST_CACHED_VALUE = 1024


class Shape(NamedTuple):
    """A plain comparison that a pattern amounts to; the arguments of
    :class:`pyrpc_xds._matcher.StringTest`.
    """

    kind: str
    value: str
    parts: tuple[str, ...] = ()
    one_line: bool = False


def shape_of(pattern: str) -> Shape | None:
    """The plain comparison that ``pattern`` amounts to, or ``None`` where it needs an engine.

    Recognised: literals, with ASCII punctuation escaped or not, and ``.*`` anywhere between them.
    """
    parts = [""]
    at, end = 0, len(pattern)
    if pattern.startswith("^"):
        at = 1
    while at < end:
        char = pattern[at]
        if char == "\\":
            if at + 1 == end or pattern[at + 1] not in _PUNCTUATION:
                return None
            parts[-1] += pattern[at + 1]
            at += 2
        elif char == "." and pattern.startswith("*", at + 1):
            parts.append("")
            at += 3 if pattern.startswith("?", at + 2) else 2
        elif char == "$" and at + 1 == end:
            at += 1
        elif char in _META:
            return None
        else:
            parts[-1] += char
            at += 1
    if len(parts) == 1:
        return Shape("exact", parts[0])
    if any("\n" in part for part in parts):
        return None  # StringTest.one_line would refuse what the literal asks for
    parts = [parts[0], *(part for part in parts[1:-1] if part), parts[-1]]
    match parts:
        case [first, ""]:
            return Shape("prefix", first, one_line=True)
        case ["", last]:
            return Shape("suffix", last, one_line=True)
        case ["", middle, ""]:
            return Shape("contains", middle, one_line=True)
    return Shape("glob", pattern, tuple(parts), one_line=True)


class Regex:
    """A checked pattern.

    :ivar pattern: as written.
    :ivar shape: the plain comparison it amounts to, if it does.
    """

    __slots__ = ("_full_match", "pattern", "shape")

    def __init__(self, pattern: str, shape: Shape | None, full_match: Callable[[str], Any]) -> None:
        self.pattern = pattern
        self.shape = shape
        self._full_match = full_match

    def full_match(self, value: str) -> bool:
        """Whether the whole of ``value`` matches; in time linear in its length.

        A value that is not Unicode text (a lone surrogate) matches nothing that needs an engine.
        """
        try:
            return bool(self._full_match(value))
        except UnicodeEncodeError:
            return False

    def __repr__(self) -> str:
        return f"<Regex {self.pattern!r} as {self.shape.kind if self.shape else 'RE2'}>"


def compile_regex(pattern: str) -> Regex:
    """Check and prepare ``pattern``.

    :raises ConfigError: RE2 refuses it (look-around and back-references are not in RE2), or it needs RE2 and
        the extra ``regex`` is not installed.
    """
    shape = shape_of(pattern)
    if shape is not None:
        test = StringTest(shape.kind, shape.value, parts=shape.parts, one_line=shape.one_line)
        return Regex(pattern, shape, test.holds)
    try:
        import re2
    except ImportError:
        raise missing_extra("regex", "re2", f"the regular expression {pattern!r}") from None
    options = re2.Options()
    options.log_errors = False
    try:
        return Regex(pattern, None, re2.compile(pattern, options).fullmatch)
    except re2.error as error:
        reason = error.args[0] if error.args else "refused"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    except UnicodeEncodeError:
        text = "not Unicode text"
    raise ConfigError(
        f"the regular expression {pattern!r} is not valid in RE2: {text}",
        hint="RE2 has no look-around and no back-references; see https://github.com/google/re2/wiki/Syntax",
    )


def validate_regex(pattern: str) -> None:
    """Raise what :func:`compile_regex` would."""
    compile_regex(pattern)


class RegexCache:
    """The regular expressions of one route table and their latest results, so that one runs once per value.

    :param capacity: results kept, the least recently used going first. Values over ``LONGEST_CACHED_VALUE``
        characters are not kept: callers or peers write them.
    """

    def __init__(self, capacity: int = CACHED_RESULTS) -> None:
        self._compiled: dict[str, Regex] = {}

        @lru_cache(maxsize=capacity)
        def recall(regex: Regex, value: str) -> bool:
            return regex.full_match(value)

        self._recall = recall

    def test(self, pattern: str, keep: bool = True) -> StringTest:
        """The test of ``pattern``.

        :param keep: keep results. Not for paths: the matcher itself remembers those.
        :raises ConfigError: as :func:`compile_regex`.
        """
        regex = self._compiled.get(pattern)
        if regex is None:
            regex = self._compiled[pattern] = compile_regex(pattern)
        if regex.shape is not None:
            shape = regex.shape
            return StringTest(shape.kind, shape.value, parts=shape.parts, one_line=shape.one_line)
        return StringTest("regex", pattern, regex=self._recalling(regex) if keep else regex.full_match)

    def _recalling(self, regex: Regex) -> Callable[[str], bool]:
        recall = self._recall

        def full_match(value: str) -> bool:
            return recall(regex, value) if len(value) <= LONGEST_CACHED_VALUE else regex.full_match(value)

        return full_match
