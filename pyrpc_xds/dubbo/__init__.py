"""Dubbo's own YAML (``registries``, ``consumer.references``, ``provider.services``) configures clients and servers.

dubbo = pyrpc_xds.Dubbo.load("conf/dubbogo.yaml")
stub = dubbo.reference(GreeterStub)
dubbo.server(GreeterServerImpl()).serve()

What each key does, or why it does nothing: docs/dubbo.md.
"""

from __future__ import annotations

from .config import DubboConfig, NotApplied, Protocol, Reference, Registry, Service
from .instance import Dubbo
from .mapping import Place, place
from .sections import load

__all__ = [
    "Dubbo",
    "DubboConfig",
    "NotApplied",
    "Place",
    "Protocol",
    "Reference",
    "Registry",
    "Service",
    "load",
    "place",
]
