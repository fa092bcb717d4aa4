"""The interface of generated classes: what Dubbo calls ``interface: ""``, "read from stub".

What grpcio-tools generates says it nowhere but in the paths that a stub asks its channel for, and in the name that an
``add_XServicer_to_server`` function registers. Both are asked with something that only listens.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..errors import UsageError
from ..transports.triple.services import Registrar, Services

#: ``add_XServicer_to_server``.
Add = Callable[[Any, Any], None]


class _Listening:
    """A channel that writes down the paths that it is asked for."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def unary_unary(self, path: str, *_: Any, **__: Any) -> None:
        self.paths.append(path)

    unary_stream = stream_unary = stream_stream = unary_unary


def of_stub(stub: Callable[[Any], Any]) -> str:
    """The interface that a generated stub class calls, ``package.Service``.

    :raises UsageError: it is no such class.
    """
    channel = _Listening()
    try:
        stub(channel)
    except (AttributeError, TypeError) as error:
        raise _no_stub(stub, f": {error}") from None
    found = {path.strip("/").rpartition("/")[0] for path in channel.paths}
    if len(found) != 1:
        raise _no_stub(stub)
    return found.pop()


def _no_stub(stub: object, reason: str = "") -> UsageError:
    return UsageError(f"{stub!r} is no stub class as grpcio-tools generates it (XStub of x_pb2_grpc){reason}")


def of_implementation(implementation: object) -> tuple[tuple[str, Add], ...]:
    """The interfaces that an object implements, each with the function that adds it to a server.

    They are those of the generated ``XServicer`` classes that its class inherits from.

    :raises UsageError: there is none.
    """
    found = []
    for base in type(implementation).__mro__:
        add = getattr(sys.modules.get(base.__module__), f"add_{base.__name__}_to_server", None)
        if add is not None:
            services = Services(asyncio=True)  # takes handlers of either kind: only the name counts
            add(implementation, Registrar(services))
            found += [(interface, add) for interface in services.names]
    if not found:
        raise UsageError(
            f"{type(implementation).__name__} inherits from no XServicer class that grpcio-tools generated, so nothing "
            "says which interface it implements"
        )
    return tuple(found)
