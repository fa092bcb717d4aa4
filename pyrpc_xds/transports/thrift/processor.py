"""What a server does with one message: decode, call the handler, encode the answer. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from thriftpy2.thrift import TApplicationException

from ..._ttheader import answer, answer_ints
from . import theader, ttheader
from .biz import biz_strings
from .call import ServerCall
from .codec import CALL, EXCEPTION, ONEWAY, REPLY, Codec
from .errors import ThriftBizError, ThriftProtocolError, plain, sendable
from .goodbye import LAST_ANSWER
from .header import OUT_OF_ORDER, Header, HeaderTooLarge
from .middleware import AsyncMiddleware, Middleware, chained
from .service import SEPARATOR, Method, Service, checked_name, describe

logger = logging.getLogger("pyrpc_xds.thrift")


@dataclass(frozen=True, slots=True, eq=False)
class _Served:
    """A method, whose it is, and who implements it."""

    method: Method
    service: str
    handler: object


class Request(NamedTuple):
    """A call that has arrived, decoded.

    :ivar served: ``None``: the server has no method of the name.
    :ivar args: thriftpy2's struct of the arguments.
    """

    served: _Served | None
    name: str
    seqid: int
    oneway: bool
    args: Any
    call: ServerCall

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.call.service}.{self.name}"

    @property
    def any_order(self) -> bool:
        """The client takes the answer whenever it comes."""
        header = self.call.header
        return header is not None and bool(header.flags & OUT_OF_ORDER)


class Processor:
    """Services and the objects that implement them; shared by all connections.

    :param expose_errors: the text of an exception that the IDL does not declare is sent to the client.
        Otherwise the client learns only that the handler failed: such texts name files, hosts and data.
    :param others: more services, by the name that a multiplexing client puts before a method's; the first one is
        called without a name, or by its own.
    :param middleware: see :mod:`.middleware`.
    """

    def __init__(
        self,
        service: Service,
        handler: object,
        expose_errors: bool = False,
        others: Mapping[str, tuple[Any, object]] | None = None,
        middleware: Sequence[Middleware | AsyncMiddleware] = (),
    ) -> None:
        self.service = service
        self.middleware = tuple(middleware)
        # The server is stopping: answers tell clients to make no further call on their connection.
        self.leaving = False
        self._expose_errors = expose_errors
        self._served: dict[str, _Served] = {}
        requests: tuple[dict[bytes, Any], dict[bytes, Any]] = ({}, {})
        self._add("", service, handler, requests)
        self._add(service.name + SEPARATOR, service, handler, requests)
        for name, (other, implementation) in (others or {}).items():
            self._add(checked_name(name) + SEPARATOR, describe(other), implementation, requests)
        # What the scan compares: binary, compact; `None`: nothing.
        self.requests: tuple[Mapping[bytes, Any] | None, Mapping[bytes, Any] | None] = (
            requests[0] or None,
            requests[1] or None,
        )

    def _add(
        self, prefix: str, service: Service, handler: object, requests: tuple[dict[bytes, Any], ...]
    ) -> None:
        for name, method in service.methods.items():
            self._served[prefix + name] = _Served(method, service.name, handler)
        for all_nodes, nodes in zip(requests, service.requests, strict=True):
            for label, node in (nodes or {}).items():
                all_nodes[prefix.encode() + label] = node

    def request(
        self, codec: Codec, data: bytes, start: int, header: Header | None, peer: str, arrived: float
    ) -> Request:
        """Decode the message that ``codec.scanner`` has just passed.

        :param header: that came with it, if the transport has any.
        :param peer: the client's address.
        :param arrived: when its last byte was read, of :func:`time.monotonic`.
        :raises ThriftProtocolError: it is no request, or cannot be decoded. The connection is lost then.
        """
        scanner = codec.scanner
        if scanner.kind not in (CALL, ONEWAY):
            raise ThriftProtocolError(f"a message of type {scanner.kind} was sent to a server")
        name = scanner.name.decode(errors="replace")
        seqid = scanner.seqid
        served = self._served.get(name)
        if served is None:
            call = ServerCall(peer, self.service.name, name, header, arrived)
            return Request(None, name, seqid, scanner.kind == ONEWAY, None, call)
        method = served.method
        struct = method.args()
        codec.decode(struct, data, start + scanner.body, start + scanner.size)
        call = ServerCall(peer, served.service, method.name, header, arrived, not method.oneway)
        return Request(served, method.name, seqid, method.oneway, struct, call)

    def run(self, request: Request) -> Any:
        """Call the handler, through the middleware. To be run in a new, empty context.

        :raises TApplicationException: the client waits no more; :meth:`.call.ServerCall.refuse_if_late`.
        """
        served = request.served
        assert served is not None
        request.call.refuse_if_late()
        request.call.enter()
        if self.middleware:
            return chained(self.middleware, served.method.name, lambda args: _call(served, args))(
                request.args
            )
        return _call(served, request.args)

    async def run_async(
        self, request: Request, call: Callable[[Callable[..., Any], tuple[Any, ...]], Awaitable[Any]]
    ) -> Any:
        """:meth:`run` for an event loop, in a context that is the request's and as the server was started in.

        :param call: awaits a handler, or has a thread run it.
        :raises TApplicationException: as for :meth:`run`.
        """
        served = request.served
        assert served is not None

        def innermost(args: Any) -> Awaitable[Any]:
            return call(getattr(served.handler, served.method.name), served.method.values_of(args))

        request.call.refuse_if_late()
        request.call.replace()
        if self.middleware:
            return await chained(self.middleware, served.method.name, innermost)(request.args)
        return await innermost(request.args)

    def answer(self, codec: Codec, request: Request, value: Any, error: BaseException | None) -> bytes:
        """The bytes that answer a request; empty: it is oneway.

        :param value: what the handler returned.
        :param error: what it raised instead.
        """
        served = request.served
        if request.oneway:
            if error is not None and served is not None:
                logger.error("%s (oneway) failed", request.label, exc_info=error)
            return b""
        if served is None:
            unknown = f"{self.service.name} has no method {request.name[:200]!r}"
            return self._exception(codec, request, TApplicationException.UNKNOWN_METHOD, unknown)
        extra: dict[str, str] | None = None
        if self.leaving:
            _say_goodbye(request)
        try:
            if isinstance(error, TApplicationException):
                return _encode(codec, request, EXCEPTION, error)
            result = served.method.result()
            if error is None:
                if served.method.success:
                    result.success = value
            elif isinstance(error, ThriftBizError):
                if request.call.header is None:
                    return self._exception(codec, request, TApplicationException.INTERNAL_ERROR, str(error))
                extra = biz_strings(error)
            elif not _declared(result, error):
                logger.error("%s failed", request.label, exc_info=error)
                return self._failure(codec, request, "failed", error)
            return _encode(codec, request, REPLY, result, extra)
        except HeaderTooLarge as problem:
            logger.error("what %s sends back does not fit: %s", request.label, problem)
            request.call.backward = None
            return self._failure(codec, request, "failed: what it sends back does not fit", problem)
        except Exception as problem:
            # Such an error ends its own call; other calls share the connection.
            what = "result" if error is None else type(error).__name__
            logger.exception("the %s of %s is not of the IDL's type", what, request.label)
            return self._failure(codec, request, f"failed: its {what} cannot be encoded", problem)

    def _failure(self, codec: Codec, request: Request, what: str, error: BaseException) -> bytes:
        text = f"{request.label} {what}"
        if self._expose_errors:
            text += f": {_shown(error)}"
        return self._exception(codec, request, TApplicationException.INTERNAL_ERROR, text)

    def _exception(self, codec: Codec, request: Request, kind: int, text: str) -> bytes:
        error = TApplicationException(kind, text)
        try:
            return _encode(codec, request, EXCEPTION, error)
        except Exception:
            # What the handler sends back besides.
            request.call.backward = None
            return _encode(codec, request, EXCEPTION, error)


def _call(served: _Served, args: Any) -> Any:
    return getattr(served.handler, served.method.name)(*served.method.values_of(args))


def _encode(
    codec: Codec, request: Request, kind: int, struct: Any, extra: Mapping[str, str] | None = None
) -> bytes:
    if kind == EXCEPTION:
        struct = sendable(struct)
    message = codec.encode(request.name, kind, request.seqid, struct, request.served is not None)
    came = request.call.header
    if came is None:
        return message
    backward = request.call.backward
    strings = None
    if backward or extra:
        strings = {**(backward or {}), **(extra or {})}
    if came.plain:
        header = Header(came.seqid, 0, came.protocol, transforms=came.transforms, strings=strings, plain=True)
        return theader.encode(header, message)
    if strings is None:
        return answer(came, kind, message)
    ints = answer_ints(kind, came.framed)
    return ttheader.encode(Header(came.seqid, 0, came.protocol, came.framed, (), ints, strings), message)


def _say_goodbye(request: Request) -> None:
    """Where many calls share a connection it is said in a message of its own."""
    call = request.call
    if call.header is not None and not call.header.plain and not request.any_order:
        call.backward = {**(call.backward or {}), **LAST_ANSWER}


def _shown(error: BaseException) -> str:
    """What a handler raised, as text that can be encoded, whatever its class makes of itself."""
    try:
        return plain(repr(error))
    except Exception:
        return type(error).__name__


def _declared(result: Any, error: BaseException) -> bool:
    """Put an exception that the IDL declares into the result."""
    for fid, field in sorted(result.thrift_spec.items()):
        if fid != 0 and isinstance(error, field[2]):
            setattr(result, field[1], error)
            return True
    return False
