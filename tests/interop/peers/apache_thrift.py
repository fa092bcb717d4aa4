"""Apache Thrift's own Python library as a test peer, client and server, for idl/echo.thrift.

It speaks what Kitex refuses: compact, and the THeader transport. The IDL is thriftpy2's reading of it; the
structs that the library needs are made from that here, as its compiler would generate them, so every byte on
the wire is written and read by the library (in C where it is ``accelerated``). Arguments, results and declared
exceptions are handed over as thriftpy2's, so tests use the same values with every peer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from thrift.protocol.TBase import TBase
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAcceleratedFactory, TBinaryProtocolFactory
from thrift.protocol.TCompactProtocol import TCompactProtocolAcceleratedFactory, TCompactProtocolFactory
from thrift.protocol.THeaderProtocol import THeaderProtocolFactory
from thrift.protocol.TMultiplexedProtocol import TMultiplexedProtocol
from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TApplicationException, TException, TMessageType
from thrift.TMultiplexedProcessor import TMultiplexedProcessor
from thrift.transport.THeaderTransport import THeaderClientType, THeaderSubprotocolID, THeaderTransformID
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import (
    TBufferedTransportFactory,
    TFramedTransportFactory,
    TTransportException,
)
from thrift.TRecursive import fix_spec
from thriftpy2.thrift import TType

from tests.interop.peers.echo import Type, args_class, fields, idl, inner, result_class
from tests.unit.transports.thrift.peers import listening

TRANSPORTS = ("framed", "buffered", "theader", "theader-zlib")
PROTOCOLS = ("binary", "compact")


# -- the library's structs -------------------------------------------------------------------------------------

_classes: dict[Any, Any] = {}


def apache_class(cls: Any) -> Any:
    """The library's class for one of thriftpy2's, with its ``thrift_spec``; recursive types are themselves."""
    made = _classes.get(cls)
    if made is None:
        names = tuple(fields(cls))

        def init(self: Any, **values: Any) -> None:
            for name in names:
                setattr(self, name, values.get(name))

        bases = (TBase, TException) if issubclass(cls, Exception) else (TBase,)
        made = _classes[cls] = type(cls.__name__, bases, {"__init__": init, "thrift_spec": ()})
        numbered = dict(zip(cls.thrift_spec, fields(cls).items(), strict=True))
        # Indexed by field id, None where there is none, as the library wants it.
        made.thrift_spec = tuple(
            _field(number, *numbered[number]) if number in numbered else None
            for number in range(max(numbered, default=-1) + 1)
        )
        # A struct within holds its class's spec, which a recursive class gets only now.
        fix_spec(_classes.values())
    return made


def _field(number: int, name: str, kind: Type) -> tuple[Any, ...]:
    return (number, _wire(kind), name, _arguments(kind), None)


def _wire(kind: Type) -> int:
    return TType.STRING if kind[0] == TType.BINARY else kind[0]


def _arguments(kind: Type) -> Any:
    number, spec = kind
    if number == TType.STRING:
        return "UTF8"
    if number == TType.BINARY:
        return "BINARY"
    if number in (TType.LIST, TType.SET):
        return (_wire(inner(spec)), _arguments(inner(spec)), False)
    if number == TType.MAP:
        key, value = inner(spec[0]), inner(spec[1])
        return (_wire(key), _arguments(key), _wire(value), _arguments(value), False)
    if number == TType.STRUCT:
        return [apache_class(spec), None]
    return None


def to_apache(kind: Type, value: Any) -> Any:
    """thriftpy2's value as the library's."""
    return _convert(kind, value, lambda cls, made: apache_class(cls)(**made))


def from_apache(kind: Type, value: Any) -> Any:
    """The library's value as thriftpy2's."""

    def construct(cls: Any, made: dict[str, Any]) -> Any:
        struct = cls()
        for name, each in made.items():
            setattr(struct, name, each)
        return struct

    return _convert(kind, value, construct)


def _convert(kind: Type, value: Any, construct: Callable[[Any, dict[str, Any]], Any]) -> Any:
    number, spec = kind
    if value is None:
        return None
    if number == TType.STRUCT:
        made = {
            name: _convert(field, getattr(value, name), construct) for name, field in fields(spec).items()
        }
        return construct(spec, made)
    if number == TType.LIST:
        return [_convert(inner(spec), each, construct) for each in value]
    if number == TType.SET:
        return {_convert(inner(spec), each, construct) for each in value}
    if number == TType.MAP:
        key, item = inner(spec[0]), inner(spec[1])
        return {_convert(key, k, construct): _convert(item, v, construct) for k, v in value.items()}
    return value


# -- both sides ------------------------------------------------------------------------------------------------


def _protocol(transport: str, protocol: str, accelerated: bool, strict: bool, sock: TSocket) -> Any:
    """The library's protocol over its transport over a socket."""
    if transport.startswith("theader"):
        number = {"binary": THeaderSubprotocolID.BINARY, "compact": THeaderSubprotocolID.COMPACT}[protocol]
        made = THeaderProtocolFactory((THeaderClientType.HEADERS,), number).getProtocol(sock)
        if transport == "theader-zlib":
            made.add_transform(THeaderTransformID.ZLIB)
        return made
    framing = TFramedTransportFactory() if transport == "framed" else TBufferedTransportFactory()
    factories: dict[tuple[str, bool], Any] = {
        ("binary", False): TBinaryProtocolFactory(strictRead=strict, strictWrite=strict),
        ("binary", True): TBinaryProtocolAcceleratedFactory(fallback=False),
        ("compact", False): TCompactProtocolFactory(),
        ("compact", True): TCompactProtocolAcceleratedFactory(fallback=False),
    }
    return factories[protocol, accelerated and strict].getProtocol(framing.getTransport(sock))


class ApacheClient:
    """A client with the methods of the service, over one connection.

    :param transport: framed, buffered, theader, or theader-zlib: what is sent is compressed.
    :param protocol: binary or compact.
    :param accelerated: the library's C code; THeader always has it.
    :param strict: binary messages with a version.
    :param multiplexed: the name of the service on a server of several.
    :ivar headers: sent with each call (theader).
    :ivar received: the headers of the last answer (theader).
    """

    def __init__(
        self,
        address: str,
        transport: str = "framed",
        protocol: str = "binary",
        *,
        accelerated: bool = True,
        strict: bool = True,
        multiplexed: str | None = None,
        timeout: float = 5.0,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._sock = TSocket(host, int(port))
        self._sock.setTimeout(timeout * 1000)
        self._sock.open()
        self._in = self._out = _protocol(transport, protocol, accelerated, strict, self._sock)
        self._theader = transport.startswith("theader")
        if multiplexed is not None:
            self._out = TMultiplexedProtocol(self._in, multiplexed)
        self._seqid = 0
        self.headers: dict[str, str] = {}
        self.received: dict[str, str] = {}

    def __enter__(self) -> ApacheClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self._sock.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or not hasattr(idl.Echo, f"{name}_args"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.call(name, *args, **kwargs)

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method. Raises its declared exceptions and the library's TApplicationException."""
        cls, answer = args_class(method), result_class(method)
        values = {**dict(zip(fields(cls), args, strict=False)), **kwargs}
        self._seqid += 1
        if self._theader:
            for key, value in self.headers.items():
                self._in.set_header(key.encode(), value.encode())
        kind = TMessageType.ONEWAY if answer.oneway else TMessageType.CALL
        self._out.writeMessageBegin(method, kind, self._seqid)
        apache_class(cls)(**{k: to_apache(fields(cls)[k], v) for k, v in values.items()}).write(self._out)
        self._out.writeMessageEnd()
        self._out.trans.flush()
        if answer.oneway:
            return None
        name, kind, seqid = self._in.readMessageBegin()
        assert seqid == self._seqid, (seqid, self._seqid)
        if self._theader:
            self.received = {key.decode(): value.decode() for key, value in self._in.get_headers().items()}
        if kind == TMessageType.EXCEPTION:
            error = TApplicationException()
            error.read(self._in)
            self._in.readMessageEnd()
            raise error
        assert (kind, name) == (TMessageType.REPLY, method), (kind, name)
        result = apache_class(answer)()
        result.read(self._in)
        self._in.readMessageEnd()
        for name, field in fields(answer).items():
            value = from_apache(field, getattr(result, name))
            if value is not None and name != "success":
                raise value
            if value is not None:
                return value
        if "success" in fields(answer):
            raise TApplicationException(TApplicationException.MISSING_RESULT, f"{method}: unknown result")
        return None


class _Processor:
    """What the library's compiler generates for a service."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def process(self, iprot: Any, oprot: Any) -> None:
        method, kind, seqid = iprot.readMessageBegin()
        if not hasattr(idl.Echo, f"{method}_args"):
            iprot.skip(TType.STRUCT)
            iprot.readMessageEnd()
            unknown = TApplicationException(
                TApplicationException.UNKNOWN_METHOD, f"Unknown function {method}"
            )
            _answer(oprot, method, TMessageType.EXCEPTION, seqid, unknown)
            return
        cls, result_type = args_class(method), result_class(method)
        request = apache_class(cls)()
        request.read(iprot)
        iprot.readMessageEnd()
        assert kind == (TMessageType.ONEWAY if result_type.oneway else TMessageType.CALL), kind
        arguments = [from_apache(field, getattr(request, name)) for name, field in fields(cls).items()]
        result, kind = apache_class(result_type)(), TMessageType.REPLY
        try:
            value = getattr(self.handler, method)(*arguments)
            if "success" in fields(result_type):
                result.success = to_apache(fields(result_type)["success"], value)
        except Exception as error:
            name = next((n for n, (_, c) in fields(result_type).items() if c and type(error) is c), None)
            if name is None:
                kind = TMessageType.EXCEPTION
                result = TApplicationException(TApplicationException.INTERNAL_ERROR, "Internal error")
            else:
                setattr(result, name, to_apache(fields(result_type)[name], error))
        if not result_type.oneway:
            _answer(oprot, method, kind, seqid, result)


def _answer(oprot: Any, method: str, kind: int, seqid: int, value: Any) -> None:
    oprot.writeMessageBegin(method, kind, seqid)
    value.write(oprot)
    oprot.writeMessageEnd()
    oprot.trans.flush()


@contextlib.contextmanager
def apache_server(
    handler: Any,
    transport: str = "framed",
    protocol: str = "binary",
    *,
    accelerated: bool = True,
    strict: bool = True,
    multiplexed: str | None = None,
    headers: Mapping[str, str] | None = None,
    on_headers: Callable[[dict[str, str]], None] | None = None,
) -> Iterator[str]:
    """A server of the service, a thread for each connection; its address. Parameters as for ApacheClient.

    Parameters: ``headers`` are sent with every answer, ``on_headers`` gets those of each request once it is
    answered (theader).
    """
    processor: Any = _Processor(handler)
    if multiplexed is not None:
        several = TMultiplexedProcessor()
        several.registerProcessor(multiplexed, processor)
        processor = several

    def serve(connection: Any) -> None:
        sock = TSocket()
        sock.setHandle(connection)
        both = _protocol(transport, protocol, accelerated, strict, sock)
        with contextlib.suppress(TTransportException, TProtocolException, EOFError):
            while True:
                for key, value in (headers or {}).items():
                    both.set_header(key.encode(), value.encode())
                processor.process(both, both)
                if on_headers is not None:
                    on_headers({key.decode(): value.decode() for key, value in both.get_headers().items()})

    with listening(serve) as address:
        yield address
