"""Whether a regular expression is one that the data plane can run: RE2's syntax, checked early."""

from __future__ import annotations

import re

from .fields import Fields

# What Python's own syntax has and RE2 lacks: look-around, back-references, atomic groups, conditionals.
_NOT_RE2 = re.compile(r"\(\?(?:[=!>(]|<[=!]|P=)|\\[1-9]")


def check_regex(field: Fields, name: str, pattern: str) -> None:
    """Refuse a pattern that RE2 would not compile. Raises ConfigError naming the field.

    With ``google-re2`` installed it decides; without it, Python's compiler and a list of what RE2 lacks.
    """
    hint = "Use RE2 syntax: https://github.com/google/re2/wiki/Syntax"
    try:
        import re2
    except ImportError:
        if _NOT_RE2.search(pattern):
            field.fail(
                name, f"{pattern!r} uses what RE2 does not have (look-around or back-references)", hint
            )
        try:
            re.compile(pattern)
        except re.error as error:
            field.fail(name, f"{pattern!r} is not a regular expression: {error}", hint)
        return
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0]
        reason = text.decode() if isinstance(text, bytes) else str(text)
        field.fail(name, f"{pattern!r} is not a regular expression: {reason}", hint)
