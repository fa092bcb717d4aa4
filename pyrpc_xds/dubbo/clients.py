"""The XdsClient of each registry: its address from the YAML, who we are from the pod's environment."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Mapping
from dataclasses import replace

from ..bootstrap import Bootstrap
from ..client import READY_TIMEOUT, XdsClient
from ..errors import UsageError
from .config import DubboConfig
from .mapping import NAMESPACE

_log = logging.getLogger("pyrpc_xds.dubbo")
_OWN_BOOTSTRAPS = ("GRPC_XDS_BOOTSTRAP", "GRPC_XDS_BOOTSTRAP_CONFIG")
_NOBODY = {"POD_NAME": "none", "POD_NAMESPACE": NAMESPACE}


class Clients:
    """Makes each client when it is first asked for, and closes them together.

    :param environ: as for :meth:`pyrpc_xds.Bootstrap.from_env`.
    """

    def __init__(self, config: DubboConfig, environ: Mapping[str, str]) -> None:
        self._config = config
        self._environ = environ
        self._lock = threading.Lock()
        # Guarded by _lock.
        self._clients: dict[tuple[str, bool], XdsClient] = {}
        self._closed = False

    def client(self, registry: str, *, in_mesh: bool) -> XdsClient:
        """The client of a registry.

        :param registry: its name; empty: none is configured, and the environment says where the control plane is.
        :param in_mesh: whether the control plane will be asked.
        :raises ConfigError: the environment does not say who we are.
        :raises UsageError: they are closed.
        """
        key = registry, in_mesh or bool(registry)
        with self._lock:
            if self._closed:
                raise UsageError(f"{self._config.source}: this Dubbo is closed")
            if key not in self._clients:
                wait = self._config.ready_timeout
                ready_timeout = READY_TIMEOUT if wait is None else wait
                self._clients[key] = XdsClient(self._bootstrap(*key), ready_timeout=ready_timeout)
            return self._clients[key]

    def namespace(self, registry: str) -> str:
        """The pod's: ``POD_NAMESPACE``, or that of the bootstrap of the environment."""
        if named := self._environ.get("POD_NAMESPACE"):
            return named
        metadata = self.client(registry, in_mesh=True).bootstrap.node.metadata
        return str(metadata.get("NAMESPACE") or NAMESPACE)

    def close(self) -> None:
        """Close all of them. Calling it again does nothing."""
        with self._lock:
            self._closed = True
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def _bootstrap(self, registry: str, in_mesh: bool) -> Bootstrap:
        environ = dict(self._environ)
        own = next((name for name in _OWN_BOOTSTRAPS if environ.get(name)), None)
        if registry:
            address = self._config.registries[registry].address
            if own:
                path = f"{self._config.source}: dubbo.registries.{registry}.address"
                _log.warning("%s (%s) is not used: %s is set, and says all of it", path, address, own)
            environ["ISTIOD_ADDR"] = address
        elif not in_mesh:
            environ = {**_NOBODY, **environ}  # nobody will be asked, or told who we are
        # dubbo-go finds the address itself; Kubernetes writes a pod's beside its host name.
        environ["INSTANCE_IP"] = environ.get("INSTANCE_IP") or environ.get("POD_IP") or _own_address()
        bootstrap = Bootstrap.from_env(environ)
        node = bootstrap.node
        if self._config.application and "WORKLOAD_NAME" not in node.metadata:
            metadata = {**node.metadata, "WORKLOAD_NAME": self._config.application}
            bootstrap = replace(bootstrap, node=replace(node, metadata=metadata))
        return bootstrap


def _own_address() -> str:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"
