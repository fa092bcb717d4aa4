"""A control plane, and how to reach it."""

from __future__ import annotations

from ..frozen import frozen


@frozen
class ChannelCredentials:
    """How to secure the connection to one server.

    :param kind: ``insecure`` or ``tls``.
    :param ca_file: PEM roots to trust; empty: the system's (``tls`` only).
    :param certificate_file: PEM chain to present; empty: none.
    :param private_key_file: PEM key of that chain.
    """

    kind: str = "insecure"
    ca_file: str = ""
    certificate_file: str = ""
    private_key_file: str = ""


@frozen
class Server:
    """One control plane.

    :param uri: a gRPC target: ``host:port``, ``dns:///host:port``, ``unix:///path``.
    :param features: ``server_features`` (gRFC A53, A88), as written.
    """

    uri: str
    credentials: ChannelCredentials = ChannelCredentials()
    features: frozenset[str] = frozenset()

    @property
    def fail_on_data_errors(self) -> bool:
        """Whether a bad or removed resource takes its last good version with it (gRFC A88)."""
        return "fail_on_data_errors" in self.features

    @property
    def resource_timer_is_transient_error(self) -> bool:
        """Whether a silent server means a transient error after 30 s, not absence after 15 s (gRFC A88).

        The gRFC spells the feature both ways.
        """
        return bool(
            {"resource_timer_is_transient_error", "resource_timer_is_transient_failure"} & self.features
        )
