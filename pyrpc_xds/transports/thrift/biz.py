"""Kitex's business status: string keys of an answer whose result is empty."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from .errors import ThriftBizError, ThriftProtocolError, plain

_STATUS = "biz-status"
_MESSAGE = "biz-message"
_EXTRA = "biz-extra"
_INT = re.compile(r"[+-]?[0-9]{1,10}\Z")
_NO_CODE = 2**31


def biz_strings(error: ThriftBizError) -> dict[str, str]:
    """The keys that carry an error.

    :raises UsageError: it has become one that cannot be sent since it was made.
    """
    checked = ThriftBizError(error.code, error.message)
    strings = {_STATUS: str(int(checked.code)), _MESSAGE: plain(checked.message)}
    if error.extra:
        strings[_EXTRA] = json.dumps(
            {plain(str(key)): plain(str(value)) for key, value in error.extra.items()}
        )
    return strings


def biz_error(strings: Mapping[str, str]) -> ThriftBizError | None:
    """The error that an answer carries, if any.

    :raises ThriftProtocolError: the status is no number of 32 bits, or the extra is no JSON object of strings.
    """
    status = strings.get(_STATUS)
    if not status:
        return None
    code = int(status) if _INT.match(status) else _NO_CODE
    if not -(2**31) <= code < 2**31:
        raise ThriftProtocolError(f"{_STATUS} is {status[:40]!r}, not a number of 32 bits")
    if not code:
        return None
    extra: object = {}
    if text := strings.get(_EXTRA):
        try:
            extra = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ThriftProtocolError(f"{_EXTRA} is not JSON: {error}") from None
    if not isinstance(extra, dict) or not all(isinstance(value, str) for value in extra.values()):
        raise ThriftProtocolError(f"{_EXTRA} is not a JSON object of strings")
    # Neither a header nor JSON need be text that can be shown.
    shown = {plain(key): plain(value) for key, value in extra.items()}
    return ThriftBizError(code, plain(strings.get(_MESSAGE, "")), shown)
