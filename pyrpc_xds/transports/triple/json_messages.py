"""JSON of protobuf messages, as dubbo-go (3.3.0) writes and reads it: field names as in the IDL, unset fields left
out; unknown fields are an error, and both spellings of a name (``user_name``, ``userName``) are understood.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# protobuf's JSON is imported where it is used: a program that imports this package may not need it.


def message_class(deserializer: Callable[[bytes], Any] | None) -> Any:
    """The message of a handler's ``request_deserializer``, which generated code has as ``Message.FromString``;
    ``None``: it is another function.
    """
    owner = getattr(deserializer, "__self__", None)
    return owner if isinstance(owner, type) and hasattr(owner, "DESCRIPTOR") else None


def is_message(value: Any) -> bool:
    """Whether it is a message of protobuf's."""
    return hasattr(value, "DESCRIPTOR")


def parse(cls: Any, data: bytes) -> Any:
    """The message that JSON text says.

    :param cls: of :func:`message_class`.
    :raises ValueError: it says none; the text says why.
    """
    from google.protobuf.json_format import Parse

    try:
        text = data.decode("utf-8")
        # protobuf's own types may be written as text, a list or a number; protobuf reads [] as any message.
        if text.lstrip()[:1] != "{" and not cls.DESCRIPTOR.full_name.startswith("google.protobuf."):
            raise ValueError("a message is a JSON object")
        return Parse(text, cls())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except Exception as error:  # protobuf 7 lets errors of several kinds through (ParseError, TypeError, ...)
        raise ValueError(str(error) or type(error).__name__) from error


def dump(message: Any) -> bytes:
    """A message as JSON text in one line."""
    from google.protobuf.json_format import MessageToJson

    return MessageToJson(message, preserving_proto_field_name=True, indent=None, ensure_ascii=False).encode()
