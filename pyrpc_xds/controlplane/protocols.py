"""What a port speaks, by Istio's rules of explicit protocol selection."""

from __future__ import annotations

from enum import Enum

from .resources import ServicePort

# Ports on which the server speaks first: looking at the bytes would wait for ever, so they are TCP.
_SERVER_FIRST_PORTS = {25, 53, 3306, 27017}
_APP_PROTOCOLS = {"kubernetes.io/h2c": "HTTP2", "kubernetes.io/ws": "HTTP", "kubernetes.io/wss": "HTTPS"}


class Protocol(Enum):
    """What a port speaks. UNKNOWN is a port whose name says nothing: routed as HTTP."""

    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    GRPC_WEB = "grpc-web"
    HTTPS = "https"
    TCP = "tcp"
    TLS = "tls"
    UDP = "udp"
    MONGO = "mongo"
    REDIS = "redis"
    MYSQL = "mysql"
    UNKNOWN = "unknown"

    @property
    def routed(self) -> bool:
        """Whether http routes apply to the port."""
        return self in {Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB, Protocol.UNKNOWN}


def parse_protocol(text: str) -> Protocol:
    """The protocol that ``text`` names, in any case; UNKNOWN for anything else."""
    try:
        return Protocol(text.lower())
    except ValueError:
        return Protocol.UNKNOWN


def port_protocol(port: ServicePort) -> Protocol:
    """What a Service's port speaks: its appProtocol, or the part of its name before the first dash."""
    if port.protocol == "UDP":
        return Protocol.UDP
    text = port.name if port.app_protocol is None else port.app_protocol
    if port.app_protocol is not None:
        text = _APP_PROTOCOLS.get(text, text)
    if text.lower().startswith("grpc-web"):
        return Protocol.GRPC_WEB
    found = parse_protocol(text.partition("-")[0])
    return Protocol.TCP if found is Protocol.UNKNOWN and port.port in _SERVER_FIRST_PORTS else found
