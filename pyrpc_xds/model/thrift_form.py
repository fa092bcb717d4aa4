"""What the control plane says of the form of Thrift messages that an endpoint takes."""

from __future__ import annotations

from typing import NamedTuple

FRAMINGS = ("framed", "buffered", "ttheader", "ttheader-framed", "theader", "theader-zlib")
PROTOCOLS = ("binary", "lax-binary", "compact")


class ThriftForm(NamedTuple):
    """The framing and the protocol of Thrift messages, as far as they are said. A named tuple: a call looks others up
    by it.

    :param framing: one of :data:`FRAMINGS`; empty: not said.
    :param protocol: one of :data:`PROTOCOLS`; ``lax-binary`` is binary without a version; empty: not said.
    """

    framing: str = ""
    protocol: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in self if part)

    def over(self, other: ThriftForm) -> ThriftForm:
        """This form, with what it leaves open taken from ``other``."""
        return ThriftForm(self.framing or other.framing, self.protocol or other.protocol)


NOT_SAID = ThriftForm()


class ThriftForms(dict[str, ThriftForm]):
    """What is said of the endpoints of one cluster, by address; of those that are not in it, the cluster's own.

    :param cluster: of the cluster.
    :param endpoints: addresses and what is said of them, in which the cluster's fills what is left open.
    """

    def __init__(self, cluster: ThriftForm, endpoints: tuple[tuple[str, ThriftForm], ...]) -> None:
        super().__init__((address, form.over(cluster)) for address, form in endpoints)
        self._cluster = cluster

    def __missing__(self, address: str) -> ThriftForm:
        return self._cluster
