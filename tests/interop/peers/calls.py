"""One call of the greeter and its outcome, the same whoever makes it: our clients, dubbo-go's or Dubbo Java's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NotRequired, TypedDict

import grpc
from google.rpc import status_pb2

import pyrpc_xds
from examples.greeter import idl

Kind = Literal["unary", "server_stream", "client_stream", "bidi"]


class Call(TypedDict):
    """A call.

    :ivar names: of the requests; one, unless the client streams.
    :ivar attachments: text, or a list of texts where one name has several.
    :ivar timeout: seconds; absent: the client's default.
    :ivar group: Dubbo's service group; ``version``: Dubbo's service version.
    :ivar method: to call instead of the one that the kind has (ours, and dubbo-go with ``SayNothing``).
    :ivar retries: of Dubbo's cluster; absent: its default. Ours has none of its own.
    :ivar encoding: ``json`` (dubbo-go) or ``gzip`` (ours).
    :ivar http1: Triple over HTTP/1.1 (dubbo-go).
    """

    kind: Kind
    names: list[str]
    address: NotRequired[str]
    attachments: NotRequired[dict[str, Any]]
    timeout: NotRequired[float]
    group: NotRequired[str]
    version: NotRequired[str]
    method: NotRequired[str]
    retries: NotRequired[int]
    encoding: NotRequired[str]
    http1: NotRequired[bool]


class User(TypedDict):
    """A greeter.User."""

    name: str
    id: str
    age: int


class Outcome(TypedDict):
    """What came of a call.

    :ivar users: the answers, those before an error too.
    :ivar code: the status as it came, -1 for an error that is none of Triple's.
    :ivar message: of the status.
    :ivar initial: headers of the response that are the application's; names are lower-case.
    :ivar trailing: trailers likewise (for dubbo-go's errors: both).
    :ivar detail: ours: the code in grpc-status-details-bin, which may be one that gRPC has not; 0: no details.
    """

    users: list[User]
    code: int
    message: str
    initial: dict[str, list[str]]
    trailing: dict[str, list[str]]
    detail: NotRequired[int]


# Of HTTP, gRPC or grpcio; what the peers leave among the application's.
_TRANSPORT = {"accept", "accept-encoding", "content-encoding", "content-length", "content-type", "date", "te"}


def applications(pairs: Iterable[tuple[str, Any]]) -> dict[str, list[str]]:
    """The metadata that is not the transport's, by lower-case name."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name.lower() not in _TRANSPORT and not name.lower().startswith(("grpc-", ":")):
            text = value if isinstance(value, str) else f"hex:{value.hex()}"
            found.setdefault(name.lower(), []).append(text)
    return found


def normalised(outcome: dict[str, Any]) -> Outcome:
    """A peer's outcome as :class:`Outcome`."""
    for part in ("initial", "trailing"):
        mapping = outcome.get(part) or {}
        outcome[part] = applications((name, text) for name, texts in mapping.items() for text in texts)
    return outcome  # type: ignore[return-value]


_METHODS = {
    "unary": ("unary_unary", "SayHello"),
    "server_stream": ("unary_stream", "SayHelloServerStream"),
    "client_stream": ("stream_unary", "SayHelloClientStream"),
    "bidi": ("stream_stream", "SayHelloStream"),
}


def _prepared(channel: Any, call: Call) -> tuple[Any, list[Any], dict[str, Any]]:
    """The multicallable, the requests and the options of a call."""
    messages = idl.protobuf()[0]
    arity, method = _METHODS[call["kind"]]
    callable_ = getattr(channel, arity)(
        f"/org.apache.dubbo.sample.Greeter/{call.get('method', method)}",
        request_serializer=messages.HelloRequest.SerializeToString,
        response_deserializer=messages.User.FromString,
    )
    metadata: list[tuple[str, Any]] = []
    for name, value in call.get("attachments", {}).items():
        if isinstance(value, list):
            metadata += [(name, text) for text in value]
        elif name.endswith("-bin"):
            metadata.append((name, value.encode()))
    given: dict[str, Any] = dict(call)
    metadata += [(f"tri-service-{name}", given[name]) for name in ("group", "version") if name in call]
    options = {
        "timeout": call.get("timeout", 20.0),
        "metadata": metadata,
        "compression": grpc.Compression.Gzip if call.get("encoding") == "gzip" else None,
    }
    return callable_, [messages.HelloRequest(name=name) for name in call["names"]], options


def _attachments(call: Call) -> dict[str, str]:
    """Those that :func:`pyrpc_xds.attachments` takes; the others have to be metadata."""
    given = call.get("attachments", {})
    return {name: value for name, value in given.items() if isinstance(value, str) and name[-4:] != "-bin"}


def _user(user: Any) -> User:
    return {"name": user.name, "id": user.id, "age": user.age}


def _outcome(users: list[User], code: Any, message: Any, initial: Any, trailing: Any) -> Outcome:
    return {
        "users": users,
        "code": code.value[0],
        "message": message or "",
        "initial": applications(initial or ()),
        "trailing": applications(trailing or ()),
        "detail": _detail(trailing or ()),
    }


def _detail(trailing: Iterable[tuple[str, Any]]) -> int:
    for name, value in trailing:
        if name == "grpc-status-details-bin":
            return int(status_pb2.Status.FromString(value).code)
    return 0


def make(xds: pyrpc_xds.XdsClient, call: Call, codec: str | None = None) -> Outcome:
    """Make it with :meth:`~pyrpc_xds.transports.triple.TripleTransport.channel`."""
    users: list[User] = []
    channel = xds.triple.channel(f"direct:///{call['address']}", codec=codec)
    with channel, pyrpc_xds.attachments(_attachments(call)):
        callable_, requests, options = _prepared(channel, call)
        argument = iter(requests) if call["kind"] in ("client_stream", "bidi") else requests[0]
        try:
            if call["kind"] in ("unary", "client_stream"):
                answer, ended = callable_.with_call(argument, **options)
                users.append(_user(answer))
            else:
                ended = callable_(argument, **options)
                for answer in ended:
                    users.append(_user(answer))  # noqa: PERF401  (what came before an error counts)
        except grpc.RpcError as error:
            ended = error
        return _outcome(
            users, ended.code(), ended.details(), ended.initial_metadata(), ended.trailing_metadata()
        )


async def make_aio(xds: pyrpc_xds.XdsClient, call: Call) -> Outcome:
    """Make it with :meth:`~pyrpc_xds.transports.triple.TripleTransport.aio_channel`."""
    users: list[User] = []
    async with xds.triple.aio_channel(f"direct:///{call['address']}") as channel:
        callable_, requests, options = _prepared(channel, call)
        streams = call["kind"] in ("client_stream", "bidi")
        with pyrpc_xds.attachments(_attachments(call)):
            ended = callable_(iter(requests) if streams else requests[0], **options)
        try:
            if call["kind"] in ("unary", "client_stream"):
                users.append(_user(await ended))
            else:
                async for answer in ended:
                    users.append(_user(answer))  # noqa: PERF401
        except grpc.RpcError:
            pass
        return _outcome(
            users,
            await ended.code(),
            await ended.details(),
            await ended.initial_metadata(),
            await ended.trailing_metadata(),
        )
