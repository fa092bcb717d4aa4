"""Kitex's business status: string keys of an answer whose result is empty."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from .errors import ThriftBizError, ThriftProtocolError

_STATUS = "biz-status"
_MESSAGE = "biz-message"
_EXTRA = "biz-extra"
_INT = re.compile(r"[+-]?[0-9]{1,10}\Z")


def biz_strings(error: ThriftBizError) -> dict[str, str]:
    """The keys that carry an error."""
    strings = {_STATUS: str(int(error.code)), _MESSAGE: str(error.message)}
    if error.extra:
        strings[_EXTRA] = json.dumps({str(key): str(value) for key, value in error.extra.items()})
    return strings


def biz_error(strings: Mapping[str, str]) -> ThriftBizError | None:
    """The error that an answer carries, if any.

    :raises ThriftProtocolError: the status is no number, or the extra is no JSON object of strings.
    """
    status = strings.get(_STATUS)
    if not status:
        return None
    if not _INT.match(status):
        raise ThriftProtocolError(f"{_STATUS} is {status[:40]!r}, not a number")
    if not int(status):
        return None
    extra: object = {}
    if text := strings.get(_EXTRA):
        try:
            extra = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ThriftProtocolError(f"{_EXTRA} is not JSON: {error}") from None
    if not isinstance(extra, dict) or not all(isinstance(value, str) for value in extra.values()):
        raise ThriftProtocolError(f"{_EXTRA} is not a JSON object of strings")
    return ThriftBizError(int(status), strings.get(_MESSAGE, ""), extra)
