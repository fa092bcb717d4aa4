"""The services of a server, by Dubbo's service group and version (:mod:`.variant`).

As in dubbo-go (3.3.0), those that a call names select by equality, and a call without them selects the implementation
without them. Unlike there, a service that was never added under a group or version answers to all: it is a plain gRPC
service, and so does Dubbo Java (3.3.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc

from ...arguments import is_async
from ...errors import UsageError
from .grpc_json import accepting_json
from .variant import GROUP_HEADER, PLAIN, VERSION_HEADER, Variant, variant


class NotImplementedHere(Exception):
    """The service is here, the group and version that a call asks for are not."""


class Services(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Finds the handler of a call. Filled before the server starts.

    :param asyncio: whether refusals must be coroutines, and handlers may be.
    """

    def __init__(self, *, asyncio: bool) -> None:
        self._asyncio = asyncio
        self._unimplemented = _unimplemented_async if asyncio else _unimplemented
        self._methods: dict[str, dict[Variant, Any]] = {}
        self._generic: dict[Variant, list[Any]] = {}
        # Services that were added under a group or version, with those that they have.
        self._variants: dict[str, set[Variant]] = {}
        self._names: dict[str, None] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The services, in the order in which they were added."""
        return tuple(self._names)

    def register(self, service: str, handlers: Mapping[str, Any], selected: Variant = PLAIN) -> None:
        """Add the methods of a service.

        :raises UsageError: one is a coroutine function, and the server's handlers run on threads.
        """
        if not self._asyncio and (waiting := [name for name, each in handlers.items() if _waits(each)]):
            raise UsageError(
                f"{', '.join(waiting)} of {service} are coroutine functions: they need xds.triple.aio_server()"
            )
        self._added(service, selected)
        for method, handler in handlers.items():
            self._methods.setdefault(f"/{service}/{method}", {})[selected] = handler

    def extend(self, generic: Iterable[Any], selected: Variant = PLAIN) -> None:
        """Add :class:`grpc.GenericRpcHandler` objects."""
        for handler in generic:
            if isinstance(handler, grpc.ServiceRpcHandler):
                self._added(handler.service_name(), selected)
            self._generic.setdefault(selected, []).append(handler)

    def _added(self, service: str, selected: Variant) -> None:
        self._names[service] = None
        self._variants.setdefault(service, set()).add(selected)

    def service(self, handler_call_details: Any) -> Any:
        """As :meth:`grpc.GenericRpcHandler.service`."""
        try:
            found = self.find(handler_call_details)
        except NotImplementedHere as why:
            return self._unimplemented(str(why))
        if found is None:
            # grpcio itself would say only that a method is not found.
            return self._unimplemented(f"Method not found: {handler_call_details.method}")
        return accepting_json(found)

    def find(self, handler_call_details: Any) -> Any:
        """The handler of a call; ``None``: there is none.

        :raises NotImplementedHere: there is one for another group or version; the text says which was asked for.
        """
        path = handler_call_details.method
        service, _, method = path[1:].rpartition("/")
        group = version = ""
        for name, value in handler_call_details.invocation_metadata or ():
            if name == GROUP_HEADER:
                group = value
            elif name == VERSION_HEADER:
                version = value
        selected = variant(group, version)
        variants = self._variants.get(service)
        if selected != PLAIN and (variants is None or variants == {PLAIN}):
            selected = PLAIN
        found = self._find(path, selected, handler_call_details)
        if found is None and method:
            # Dubbo's Java interfaces say sayHello where the IDL says SayHello; its servers know both.
            path = f"/{service}/{method[0].swapcase()}{method[1:]}"
            found = self._methods.get(path, {}).get(selected)
        if found is None and variants is not None and selected not in variants:
            raise NotImplementedHere(
                f"no implementation found for service group {group} and service version {version}: {service}"
            )
        return found

    def _find(self, path: str, selected: Variant, details: Any) -> Any:
        methods = self._methods.get(path)
        if methods is not None and selected in methods:
            return methods[selected]
        for handler in self._generic.get(selected, ()):
            found = handler.service(details)
            if found is not None:
                return found
        return None


_FUNCTIONS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def _waits(handler: Any) -> bool:
    """Whether what implements a method is to be awaited."""
    return any(is_async(getattr(handler, kind, None)) for kind in _FUNCTIONS)


class Registrar:
    """What a generated ``add_XServicer_to_server`` function is given instead of the server.

    :param services: gets the service, under ``selected``.
    """

    def __init__(self, services: Services, selected: Variant = PLAIN) -> None:
        self._services = services
        self._selected = selected

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """As :meth:`grpc.Server.add_generic_rpc_handlers`."""
        self._services.extend(generic_rpc_handlers, self._selected)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """As :meth:`grpc.Server.add_registered_method_handlers`."""
        self._services.register(service_name, method_handlers, self._selected)


def _unimplemented(details: str) -> Any:
    def refuse(requests: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, details)

    return _refusing(refuse)


def _unimplemented_async(details: str) -> Any:
    async def refuse(requests: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, details)

    return _refusing(refuse)


def _refusing(refuse: Callable[..., Any]) -> Any:
    # A stream both ways: grpcio then waits for no request before it calls the handler.
    return grpc.stream_stream_rpc_method_handler(refuse)
