"""What every object has: its metadata, and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Labels = Mapping[str, str]
NO_LABELS: Labels = MappingProxyType({})


def no_labels() -> Labels:
    """The default of a field of labels."""
    return NO_LABELS


def no_ports() -> Mapping[str, int]:
    """The default of a field of ports by name."""
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Meta:
    """``metadata`` of an object, and where its document stands (``where``, for messages)."""

    kind: str
    namespace: str
    name: str
    labels: Labels = field(default_factory=no_labels)
    annotations: Labels = field(default_factory=no_labels)
    created: str = ""
    where: str = field(default="", compare=False)

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes an object the same one in a later version: kind, namespace, name."""
        return (self.kind, self.namespace, self.name)
