"""``application/grpc+json`` on a gRPC port: what dubbo-go sends with ``WithSerializationJSON()``.

grpcio hides the content type from handlers (1.85.1), so a call's form is told by its first byte. A JSON message is
an object and begins with ``{``, which to protobuf is the start of a group in field 15. No proto3 message has a
group, and a message type that has a field 15 is not looked at: there ``{`` may be protobuf. What begins with
``{`` elsewhere and is no JSON is still given to protobuf. A call that was asked in JSON is answered in JSON;
dubbo-go (3.3.0) does not look at the content type of the answer, which grpcio leaves ``application/grpc``.
"""

from __future__ import annotations

from typing import Any

from . import json_messages

_OBJECT = b"{"
_FIELD = _OBJECT[0] >> 3


def accepting_json(handler: Any) -> Any:
    """The handler for one call, which takes JSON too where its requests are protobuf's.

    :param handler: a :class:`grpc.RpcMethodHandler`, or ``None``.
    """
    cls = json_messages.message_class(getattr(handler, "request_deserializer", None))
    if cls is None or _FIELD in cls.DESCRIPTOR.fields_by_number or not hasattr(handler, "_replace"):
        return handler
    call = _Call(cls, handler)
    return handler._replace(request_deserializer=call.deserialize, response_serializer=call.serialize)


class _Call:
    """The form of one call: JSON, once its first message was."""

    __slots__ = ("_cls", "_deserialize", "_json", "_serialize")

    def __init__(self, cls: Any, handler: Any) -> None:
        self._cls = cls
        self._deserialize = handler.request_deserializer
        self._serialize = handler.response_serializer
        self._json = False

    def deserialize(self, data: bytes) -> Any:
        """A request of either form.

        :raises Exception: it is neither; protobuf's error.
        """
        if data[:1] == _OBJECT:
            try:
                message = json_messages.parse(self._cls, data)
            except ValueError:
                if self._json:
                    raise
            else:
                self._json = True
                return message
        return self._deserialize(data)

    def serialize(self, message: Any) -> Any:
        """A response in the form of the request."""
        if self._json and json_messages.is_message(message):
            return json_messages.dump(message)
        return message if self._serialize is None else self._serialize(message)
