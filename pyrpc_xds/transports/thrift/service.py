"""A service of an IDL as this transport sees it: its methods, with all that a call needs worked out once."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import Any

from thriftpy2.thrift import TApplicationException

from ...arguments import is_async
from ...errors import UsageError
from .schema import must_compare, struct_node

# Between the name of a service and that of its method, where several share a port (TMultiplexedProtocol).
SEPARATOR = ":"

# Which `namespace` of an IDL names the package in paths. Istio rules are written for every language at once,
# so a namespace for all (`*`) comes after Python's own only because that is the one this program's author
# controls.
_NAMESPACES = ("py", "*", "go", "java")


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """One method of a service.

    :ivar path: what routes match: ``/package.Service/Method``.
    :ivar label: what the message says: the name, behind that of a service where the client multiplexes.
    :ivar args: thriftpy2's struct class of the arguments.
    :ivar result: thriftpy2's struct class of the result.
    :ivar plain: every argument may be passed to ``args`` as it comes: none is required, none has a default.
    :ivar success: the result has a value.
    :ivar void: the result has neither value nor exceptions.
    :ivar replies: what the scan compares in an answer (:mod:`.schema`): binary, compact; ``None``: nothing.
    """

    name: str
    path: str
    label: str
    oneway: bool
    args: Any
    result: Any
    arguments: tuple[str, ...]
    required: tuple[str, ...]
    plain: bool
    success: bool
    void: bool
    replies: tuple[Any, Any]

    def arguments_of(self, service: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The arguments as thriftpy2's own client takes them: ``None`` means absent.

        :raises TApplicationException: a required one is missing.
        :raises TypeError: there are too many, or one is not in the IDL.
        """
        if len(args) > len(self.arguments):
            raise TypeError(f"{service}.{self.name}() takes {len(self.arguments)} arguments, got {len(args)}")
        values = {name: value for name, value in zip(self.arguments, args, strict=False) if value is not None}
        values.update(kwargs)
        for name in self.required:
            if name not in values:
                raise TApplicationException(
                    TApplicationException.UNKNOWN_METHOD,
                    f"{name} is required argument for {service}.{self.name}",
                )
        return self.args(**values)

    def values_of(self, args: Any) -> tuple[Any, ...]:
        """What a handler is called with."""
        values = args.__dict__
        return tuple([values[each] for each in self.arguments])


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """A service and its methods, inherited ones included.

    :ivar requests: what the scan compares in requests, by method name: binary, compact; ``None``: nothing.
    """

    name: str
    methods: dict[str, Method]
    requests: tuple[dict[bytes, Any] | None, dict[bytes, Any] | None]


def package_of(service: Any) -> str:
    """The package of a service: the IDL's ``namespace py``, else ``*``, else ``go``, else ``java``, else
    empty.

    thriftpy2 keeps namespaces on the module it makes of a file, which a service names but does not refer to;
    a module loaded without a name is only in its parser's cache.
    """
    module = sys.modules.get(service.__module__)
    if getattr(module, service.__name__, None) is not service:
        from thriftpy2.parser import parser

        cached = list(getattr(parser, "_thrift_cache", {}).values())
        module = next((each for each in cached if each.__dict__.get(service.__name__) is service), None)
    namespaces = getattr(module, "__thrift_namespaces__", {})
    return next((str(namespaces[scope]) for scope in _NAMESPACES if scope in namespaces), "")


def describe(service: Any, package: str | None = None, multiplexed: str | None = None) -> Service:
    """Work out what calls of ``service`` need.

    :param service: a service that thriftpy2 loaded from an IDL.
    :param package: of the paths; ``None``: from the IDL's namespaces (:func:`package_of`); empty:
        ``/Service/Method``.
    :param multiplexed: the name that the server has for the service among several (Apache Thrift's
        TMultiplexedProtocol).
    :raises UsageError: ``service`` is something else, or the name is not one.
    """
    if multiplexed is not None:
        checked_name(multiplexed)
    before = "" if multiplexed is None else multiplexed + SEPARATOR
    names = getattr(service, "thrift_services", None)
    if names is None:
        raise UsageError(f"{service!r} is not a service of an IDL that thriftpy2 loaded")
    package = package_of(service) if package is None else package
    prefix = f"/{package}.{service.__name__}/" if package else f"/{service.__name__}/"
    methods = {name: _method(service, name, prefix, before) for name in names}
    return Service(service.__name__, methods, (_requests(methods, False), _requests(methods, True)))


def check_handler(service: Service, handler: object, coroutines: bool) -> None:
    """Refuse a handler that cannot serve, before a client finds out.

    :param coroutines: its methods may be coroutine functions.
    :raises UsageError: it lacks methods of the IDL, is a class in place of an object, has coroutines and may not, or
        has a method that cannot be called with the IDL's arguments.
    """
    found = {name: getattr(handler, name, None) for name in service.methods}
    if missing := [name for name, method in found.items() if not callable(method)]:
        raise UsageError(
            f"the handler {handler!r} lacks {', '.join(missing)} of the service {service.name}: define "
            f"{'this method' if len(missing) == 1 else 'these methods'} with the IDL's arguments"
        )
    if isinstance(handler, type) and any(inspect.isfunction(method) for method in found.values()):
        raise UsageError(
            f"the handler {handler!r} is a class: pass an object of it, such as {handler.__name__}()"
        )
    if not coroutines and (waiting := [name for name, method in found.items() if is_async(method)]):
        raise UsageError(
            f"{', '.join(waiting)} of the handler {handler!r} are coroutine functions: they need xds.thrift.aio_server"
        )

    for name, method in found.items():
        _check_arguments(service.methods[name], handler, method)


def _check_arguments(method: Method, handler: object, function: Any) -> None:
    try:
        # Of what is called: a decorator may add arguments for the function that it wraps.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # some written in C have none
        return
    try:
        signature.bind(*method.arguments)
    except TypeError as error:
        raise UsageError(
            f"{method.name}{signature} of the handler {handler!r} cannot be called with the IDL's arguments "
            f"({', '.join(method.arguments)}), in this order: {error}"
        ) from None


def _requests(methods: dict[str, Method], compact: bool) -> dict[bytes, Any] | None:
    risky = [method for method in methods.values() if must_compare(method.args, compact)]
    return {method.name.encode(): struct_node(method.args) for method in risky} or None


def checked_name(name: str) -> str:
    """:raises UsageError: it cannot stand before a method's name."""
    if not name or SEPARATOR in name:
        raise UsageError(f"service name {name!r}: it is not empty and has no {SEPARATOR!r}")
    return name


def _method(service: Any, name: str, prefix: str, before: str) -> Method:
    args, result = getattr(service, name + "_args"), getattr(service, name + "_result")
    required = tuple(field[1] for field in args.thrift_spec.values() if field[-1])
    # Most servers of several services answer without the service's name.
    nodes = dict.fromkeys((name.encode(), (before + name).encode()), struct_node(result))
    return Method(
        name=name,
        path=prefix + name,
        label=before + name,
        oneway=bool(result.oneway),
        args=args,
        result=result,
        arguments=tuple(field[1] for field in args.thrift_spec.values()),
        required=required,
        plain=not required and not any(value is not None for value in args.__init__.__defaults__ or ()),
        success=0 in result.thrift_spec,
        void=not result.thrift_spec,
        replies=(
            nodes if must_compare(result, False) else None,
            nodes if must_compare(result, True) else None,
        ),
    )
