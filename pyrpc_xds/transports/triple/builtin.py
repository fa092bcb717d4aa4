"""The services that every server of ours has: health and reflection, where their packages are installed."""

from __future__ import annotations

from typing import Any

from ...errors import missing_extra
from . import health as health_service
from .health import Health
from .services import Registrar, Services

REFLECTION = "grpc.reflection.v1alpha.ServerReflection"


def add(services: Services, *, asyncio: bool, health: bool | None, reflection: bool | None) -> Health | None:
    """Add them to the services of a server that is about to start.

    :param health: False: without; True: with; ``None``: with, if grpcio-health-checking is installed.
    :param reflection: likewise, with grpcio-reflection.
    :returns: what sets the health; ``None``: the server is to have no health service, or brings its own.
    :raises ConfigError: one that is asked for is not installed.
    """
    added: Health | None = None
    if health is not False:
        try:
            added = health_service.add(services, asyncio=asyncio)
        except ImportError as error:
            missing = missing_extra("triple", "grpc_health", "the health service")
            if health:
                raise missing from error
            added = health_service.NotInstalled(missing)
    if reflection is not False:
        try:
            _add_reflection(services, asyncio=asyncio)
        except ImportError as error:
            if reflection:
                raise missing_extra("triple", "grpc_reflection", "server reflection") from error
    return added


def _add_reflection(services: Services, *, asyncio: bool) -> None:
    from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

    if REFLECTION in services.names:
        return
    kind: Any = reflection.aio if asyncio else reflection  # type: ignore[attr-defined]
    servicer = kind.ReflectionServicer([*services.names, REFLECTION])
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, Registrar(services))
