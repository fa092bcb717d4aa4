"""What a server does with one message: decode, call the handler, encode the answer. No I/O."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from thriftpy2.thrift import TApplicationException

from .codec import CALL, EXCEPTION, ONEWAY, REPLY, Codec
from .errors import ThriftProtocolError
from .service import Method, Service

logger = logging.getLogger("pyrpc_xds.thrift")


class Request(NamedTuple):
    """A call that has arrived, decoded.

    :ivar method: ``None``: the service has none of the name.
    """

    method: Method | None
    name: str
    seqid: int
    oneway: bool
    args: tuple[Any, ...]


class Processor:
    """A service and the object that implements it; shared by all connections.

    :param expose_errors: the text of an exception that the IDL does not declare is sent to the client.
        Otherwise the client learns only that the handler failed: such texts name files, hosts and data.
    """

    def __init__(self, service: Service, handler: object, expose_errors: bool = False) -> None:
        self.service = service
        self.handler = handler
        self._expose_errors = expose_errors

    def request(self, codec: Codec, data: bytes, start: int) -> Request:
        """Decode the message that ``codec.scanner`` has just passed.

        :raises ThriftProtocolError: it is no request, or cannot be decoded. The connection is lost then.
        """
        scanner = codec.scanner
        if scanner.kind not in (CALL, ONEWAY):
            raise ThriftProtocolError(f"a message of type {scanner.kind} was sent to a server")
        name = scanner.name.decode(errors="replace")
        seqid = scanner.seqid
        method = self.service.methods.get(name)
        if method is None:
            return Request(None, name, seqid, scanner.kind == ONEWAY, ())
        struct = method.args()
        codec.decode(struct, data, start + scanner.body, start + scanner.size)
        values = struct.__dict__
        return Request(method, name, seqid, method.oneway, tuple([values[each] for each in method.arguments]))

    def answer(self, codec: Codec, request: Request, value: Any, error: BaseException | None) -> bytes:
        """The bytes that answer a request; empty: it is oneway.

        :param value: what the handler returned.
        :param error: what it raised instead.
        """
        if request.oneway:
            if error is not None and request.method is not None:
                logger.error("%s.%s (oneway) failed", self.service.name, request.name, exc_info=error)
            return b""
        method = request.method
        if method is None:
            unknown = f"{self.service.name} has no method {request.name[:200]!r}"
            return self._exception(codec, request, TApplicationException.UNKNOWN_METHOD, unknown)
        if isinstance(error, TApplicationException):
            return codec.encode(request.name, EXCEPTION, request.seqid, error)
        result = method.result()
        if error is None:
            if method.success:
                result.success = value
        elif not _declared(result, error):
            logger.error("%s.%s failed", self.service.name, request.name, exc_info=error)
            return self._failure(codec, request, error)
        try:
            return codec.encode(request.name, REPLY, request.seqid, result)
        except Exception as problem:
            logger.exception("the result of %s.%s is not of the IDL's type", self.service.name, request.name)
            return self._failure(codec, request, problem)

    def busy(self, codec: Codec, request: Request) -> bytes:
        """The answer of a server that is stopping or has no worker: the handler has not run."""
        if request.oneway:
            return b""
        return self._exception(codec, request, TApplicationException.INTERNAL_ERROR, "the server is stopping")

    def _failure(self, codec: Codec, request: Request, error: BaseException) -> bytes:
        text = f"{self.service.name}.{request.name} failed"
        if self._expose_errors:
            text += f": {error!r}"
        return self._exception(codec, request, TApplicationException.INTERNAL_ERROR, text)

    def _exception(self, codec: Codec, request: Request, kind: int, text: str) -> bytes:
        return codec.encode(request.name, EXCEPTION, request.seqid, TApplicationException(kind, text))


def _declared(result: Any, error: BaseException) -> bool:
    """Put an exception that the IDL declares into the result."""
    for fid, field in sorted(result.thrift_spec.items()):
        if fid != 0 and isinstance(error, field[2]):
            setattr(result, field[1], error)
            return True
    return False
