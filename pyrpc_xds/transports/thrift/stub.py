"""The methods of an IDL as those of a Python object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Self, TypeVar

from ...arguments import SECONDS, require
from ...attachments import checked, current_attachments
from .caller import BaseCaller
from .middleware import chained
from .service import Method, Service

# An IDL method of such a name is called with a `t` before it.
_RESERVED = frozenset({"close", "with_options", "target"})

R = TypeVar("R")


class Stub(Generic[R]):
    """One method per method of the IDL, inherited ones included. ``R`` is what they return."""

    def __init__(
        self, caller: BaseCaller, timeout: float | None = None, attachments: Mapping[str, str] | None = None
    ) -> None:
        self._caller = caller
        self._timeout = timeout
        self._attachments = attachments or {}

    @property
    def target(self) -> str:
        """The target that the client was made for."""
        return self._caller.target

    def with_options(
        self, *, timeout: float | None = None, attachments: Mapping[str, str] | None = None
    ) -> Self:
        """A view of this client, sharing its connections, whose calls have other options.

        :param timeout: seconds for each call; the route's timeout counts where it is shorter.
        :param attachments: on top of those of the context (:func:`pyrpc_xds.attachments`) and of this view.
        :raises UsageError: an attachment cannot travel, or the timeout is not above 0.
        """
        require("with_options", {"timeout": SECONDS}, {"timeout": timeout})
        return type(self)(
            self._caller,
            self._timeout if timeout is None else timeout,
            {**self._attachments, **checked(attachments or {})},
        )

    def close(self) -> None:
        """Close the client and its views; running calls finish. Calling it again does nothing."""
        self._caller.close()

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._caller.service.methods]

    def __repr__(self) -> str:
        state = " closed" if self._caller.closed else ""
        return f"<{type(self).__name__} {self._caller.service.name} of {self.target}{state}>"

    def __getattr__(self, name: str) -> Callable[..., R]:
        # Only reached the first time: the method is kept on the instance.
        if name.startswith("_"):
            # copy and pickle ask before there is a `_caller`.
            raise AttributeError(name)
        method = _method_named(self._caller.service, name)
        if method is None:
            raise AttributeError(f"{self._caller.service.name} has no method {name!r}")
        bound = self._bind(method)
        self.__dict__[name] = bound
        return bound

    def _bind(self, method: Method) -> Callable[..., R]:
        caller, call, timeout, extra = self._caller, self._caller.call, self._timeout, self._attachments
        service, args_class, plain = caller.service.name, method.args, method.plain

        if caller.middleware:
            # Inside of it, so that attachments which it sets count.
            run = chained(
                caller.middleware,
                method.name,
                lambda struct: call(method, struct, timeout, {**current_attachments(), **extra}),
            )

            def invoke_through(*args: Any, **kwargs: Any) -> Any:
                caller.check()
                return run(method.arguments_of(service, args, kwargs))

            invoke_through.__name__ = invoke_through.__qualname__ = method.name
            return invoke_through

        def invoke(*args: Any, **kwargs: Any) -> Any:
            if caller.closed:
                caller.check()
            struct = args_class(*args, **kwargs) if plain else method.arguments_of(service, args, kwargs)
            headers = current_attachments()
            return call(method, struct, timeout, {**headers, **extra} if extra else headers)

        invoke.__name__ = invoke.__qualname__ = method.name
        return invoke


def _method_named(service: Service, name: str) -> Method | None:
    """The IDL method that an attribute of a client stands for."""
    method = service.methods.get(name)
    if method is None and name[:1] == "t" and name[1:] in _RESERVED:
        method = service.methods.get(name[1:])
    return method
