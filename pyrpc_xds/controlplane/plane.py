"""The embedded control plane as one object: documents in, ADS out."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType

from ..errors import ConfigError, UsageError
from .documents import Documents, config_files, keep_last_good, read_files, read_text
from .fields import MAX_PORT
from .findings import rule_findings
from .names import CLUSTER_DOMAIN, host_port
from .registry import Mesh
from .reload import FolderWatch
from .resources import Resource
from .server import AdsServer, NodeStatus
from .snapshot import Snapshot, warm_up

logger = logging.getLogger(__name__)

DEFAULT_MAX_STREAMS = 100


@dataclass(frozen=True, slots=True)
class PlaneStatus:
    """How the control plane stands.

    :param address: where it listens, ``host:port``.
    :param version: the version being served.
    :param objects: number of objects in the mesh.
    :param errors: what is wrong with the documents; the last good version of those is being served.
    :param notes: what is valid but has no effect.
    :param nodes: the connected nodes with what each was sent, has accepted and has refused.
    """

    address: str
    version: str
    objects: int
    errors: tuple[str, ...]
    notes: tuple[str, ...]
    nodes: tuple[NodeStatus, ...]


class ControlPlane:
    """Serves Istio and Kubernetes YAML to proxyless nodes over ADS, as istiod does.

    :param config: a folder of ``*.yaml`` and ``*.yml`` files (or one file), read again whenever it changes;
        or objects already read; or None to begin with nothing and call :meth:`apply`.
    :param address: ``host:port`` to listen on; port 0 takes a free one. Loopback unless said otherwise.
    :param domain: the cluster's domain, with which short host names are completed.
    :param max_streams: bound on connected nodes.
    :param watch: whether a folder is watched.

    A document that is bad is reported and does not disturb the others: the last good version of it stays.
    Raises ConfigError for a folder that does not exist and for an address that cannot be listened on.

    A context manager; :meth:`start` and :meth:`stop` do the same by hand.
    """

    def __init__(
        self,
        config: str | PathLike[str] | Iterable[Resource] | None = None,
        address: str = "127.0.0.1:0",
        *,
        domain: str = CLUSTER_DOMAIN,
        max_streams: int = DEFAULT_MAX_STREAMS,
        watch: bool = True,
    ) -> None:
        self._path = Path(config) if isinstance(config, str | PathLike) else None
        self._domain = domain
        self._host, self._listen = _listen_address(address)
        self._max_streams = max_streams
        self._watch_folder = watch
        # Versions of a restarted control plane must not look like older ones of the same stream.
        self._epoch = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._changes = 0
        self._lock = threading.Lock()
        self._documents = Documents()
        if self._path is not None:
            self._documents = read_files(config_files(self._path), domain=domain)
        elif config is not None:
            self._documents = Documents(tuple(config))  # type: ignore[arg-type]
        self._report(self._documents)
        # What was logged of the documents being served.
        self._findings: frozenset[str] = frozenset()
        snapshot = self._snapshot(self._documents)
        self._tell(self._documents, snapshot.mesh)
        self._server = AdsServer(
            snapshot,
            identifier=f"pyrpc-xds control-plane {self._epoch}",
            max_streams=max_streams,
        )
        self._watch: FolderWatch | None = None
        self._started = False
        self._stopped = False

    def start(self) -> ControlPlane:
        """Listen, and watch the folder. Raises ConfigError; UsageError if it was started before."""
        if self._started:
            raise UsageError("this ControlPlane was started before: make a new one")
        self._started = True
        warm_up()
        self._server.start(self._listen)
        if self._path is not None and self._watch_folder:
            self._watch = FolderWatch(self._path, self.reload)
            self._watch.start()
            self.reload()  # what changed between reading and watching
        logger.info("control plane serves %d objects on %s", len(self._documents.resources), self.address)
        return self

    def stop(self) -> None:
        """End all streams and stop watching. Does nothing the second time."""
        if self._started and not self._stopped:
            self._stopped = True
            if self._watch is not None:
                self._watch.stop()
            self._server.stop()

    @property
    def address(self) -> str:
        """Where it listens, ``host:port``. Raises UsageError before :meth:`start`."""
        if not self._server.port:
            raise UsageError("this ControlPlane does not listen yet: call start()")
        return host_port(self._host, self._server.port)

    def apply(self, config: str | Iterable[Resource]) -> tuple[str, ...]:
        """Make these documents the whole mesh, and push what that changes, once.

        :param config: YAML text, or objects already read.

        All or nothing: raises ConfigError for the first bad document, and nothing has changed. Returns notes
        on what has no effect.
        """
        if isinstance(config, str):
            documents = read_text(config, domain=self._domain)
            if documents.errors:
                raise documents.errors[0]
        else:
            documents = Documents(tuple(config))
        self._take(documents)
        return documents.notes

    def reload(self) -> bool:
        """Read the folder again; whether that changed anything. A bad document keeps its last good form."""
        if self._path is None:
            raise UsageError("this ControlPlane has no folder to read again: use apply()")
        try:
            read = read_files(config_files(self._path), domain=self._domain)
        except ConfigError as error:
            read = Documents(self._documents.resources, errors=(error,))
        return self._take(keep_last_good(read, self._documents))

    def status(self) -> PlaneStatus:
        """How it stands, at this moment."""
        with self._lock:
            documents, version = self._documents, self._version()
        return PlaneStatus(
            address=self.address if self._server.port else "",
            version=version,
            objects=len(documents.resources),
            errors=tuple(str(error) for error in documents.errors),
            notes=documents.notes,
            nodes=self._server.status(),
        )

    def __enter__(self) -> ControlPlane:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take(self, documents: Documents) -> bool:
        with self._lock:
            before, self._documents = self._documents, documents
            if [str(error) for error in documents.errors] != [str(error) for error in before.errors]:
                self._report(documents)
            if documents.resources == before.resources:
                return False
            self._changes += 1
            snapshot = self._snapshot(documents)
            self._server.publish(snapshot)
            logger.info("pushed version %s: %d objects", self._version(), len(documents.resources))
            self._tell(documents, snapshot.mesh)
        return True

    def _version(self) -> str:
        return f"{self._epoch}/{self._changes}"

    def _snapshot(self, documents: Documents) -> Snapshot:
        return Snapshot(Mesh(documents.resources, domain=self._domain), self._version())

    def _tell(self, documents: Documents, mesh: Mesh) -> None:
        """Log what is served and leads nowhere, or has no effect: once, until it is put right."""
        found = [
            f"{each.where}: {each.what}" for each in rule_findings(documents, mesh) if each.level != "note"
        ]
        for text in found:
            if text not in self._findings:
                logger.warning("%s", text)
        self._findings = frozenset(found)

    @staticmethod
    def _report(documents: Documents) -> None:
        for error in documents.errors:
            logger.error("%s", error)
        if documents.kept:
            logger.warning("served as before, in the last good version: %s", _named(documents.kept))
        if lost := documents.failed - documents.keys:
            logger.warning("not served, because there is no good version: %s", _named(lost))


def _named(keys: Iterable[tuple[str, str, str]]) -> str:
    return ", ".join(f"{kind} {namespace}/{name}" for kind, namespace, name in sorted(keys))


def _listen_address(address: str) -> tuple[str, str]:
    """The host and what grpcio is to listen on. Raises ConfigError."""
    if not isinstance(address, str):
        raise ConfigError(
            "this is not a str with host and port",
            where=f"address {address!r}",
            hint=f"Write it as '127.0.0.1:{address if isinstance(address, int) else 15010}'.",
        )
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > MAX_PORT:
        raise ConfigError(
            "this is not host:port with a port up to 65535",
            where=f"address {address!r}",
            hint="Write it as 127.0.0.1:15010.",
        )
    host = host.strip("[]")
    if host == "localhost":
        host = "127.0.0.1"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ConfigError(
            "the host is not an IP address", where=f"address {address!r}", hint="Write it as 127.0.0.1:15010."
        ) from None
    return host, host_port(host, port)
