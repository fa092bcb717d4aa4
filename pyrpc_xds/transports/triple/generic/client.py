"""GenericService: calls methods of interfaces that have no IDL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from ....errors import RemoteProtocolError, UsageError
from . import serializations, wrapper


class GenericService:
    """An interface of a Dubbo application whose parameters are plain values.

    ::

        greeter = GenericService(xds.triple.channel(target), "org.apache.Greeter", serialization="gson")
        greeter.invoke("greet", ["Joe"], ["java.lang.String"], timeout=1.0)

    Values are those of JSON; objects are dictionaries, or dataclasses where they are sent. Group, version,
    routing, attachments and errors are those of the channel.

    :param channel: a :class:`grpc.Channel`; or a :class:`grpc.aio.Channel`, with which :meth:`invoke` is awaited.
    :param interface: its full name.
    :param serialization: one that the other side has: ``gson`` or ``jackson`` (JSON text), ``msgpack``,
        ``protobuf`` (:mod:`.serializations`).
    :raises UsageError: there is no such serialization here; the text says which there are.
    :raises ConfigError: its library is not installed.
    """

    def __init__(self, channel: Any, interface: str, *, serialization: str = "gson") -> None:
        try:
            self._used = serializations.named(serialization)
        except serializations.Unsupported as error:
            raise UsageError(str(error)) from None
        self._name = serialization
        self._channel = channel
        self._interface = interface
        self._methods: dict[str, Any] = {}

    def invoke(
        self,
        method: str,
        args: Sequence[Any] = (),
        types: Sequence[str] | None = None,
        *,
        returns: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
    ) -> Any:
        """Call a method; its result, or with an asyncio channel what gives it when awaited.

        :param types: of the parameters, in Java's names, which tell overloaded methods apart; ``None``: what the
            values suggest (``java.lang.String``, ``long``, ``double``, ``boolean``, ``java.util.List``, ...).
        :param returns: the class of the result where that is a message of protobuf's.
        :param timeout: seconds; ``None``: no deadline of the caller's.
        :param metadata: as for grpcio's calls.
        :raises grpc.RpcError: the call failed.
        :raises UsageError: an argument cannot be written, or there are more types than arguments or fewer.
        :raises RemoteProtocolError: the answer is none.
        """
        if types is None:
            types = [serializations.java_type(value) for value in args]
        if len(types) != len(args):
            raise UsageError(f"{self._interface}/{method}: {len(args)} arguments and {len(types)} types")
        try:
            request = wrapper.encode(self._name, [self._used.dumps(value) for value in args], types)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self._interface}/{method}: {error}") from None
        call = self._methods.get(method)
        if call is None:
            call = self._methods[method] = self._channel.unary_unary(f"/{self._interface}/{method}")
        answer = call(request, timeout=timeout, metadata=metadata)
        if isinstance(self._channel, grpc.aio.Channel):
            return self._later(method, answer, returns)
        return self._result(method, answer, returns)

    async def _later(self, method: str, answer: Any, returns: Any) -> Any:
        return self._result(method, await answer, returns)

    def _result(self, method: str, answer: bytes, returns: Any) -> Any:
        try:
            response = wrapper.decode(answer)
            if not response.data:
                return None
            # What the server has chosen may be another one.
            used = self._used if response.serialization == self._name else None
            used = used or serializations.named(response.serialization)
            return used.loads(response.data[0], returns)
        except (serializations.Unsupported, ValueError) as error:
            raise RemoteProtocolError(
                f"{self._interface}/{method}: the answer cannot be read: {error}"
            ) from error
