"""Istio's and Kubernetes' documents field by field: short host names, and who may see an object."""

from __future__ import annotations

import re
from typing import Self

from .. import fields
from ..fields import MAX_PORT
from .meta import Meta
from .names import CLUSTER_DOMAIN

__all__ = ["MAX_PORT", "Fields", "check_export_to"]

_NAMESPACE = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


class Fields(fields.Fields):
    """One mapping of a document; see :class:`pyrpc_xds.fields.Fields`.

    :param domain: the cluster's domain, with which short host names are completed.
    """

    def __init__(
        self,
        value: object,
        where: str,
        path: str = "",
        *,
        domain: str = CLUSTER_DOMAIN,
        notes: list[str] | None = None,
    ) -> None:
        self.domain = domain
        super().__init__(value, where, path, notes=notes)

    def _inner(self, value: object, path: str) -> Self:
        return type(self)(value, self.where, path, domain=self.domain, notes=self._notes)


def check_export_to(spec: Fields, meta: Meta) -> None:
    """Refuse an ``exportTo`` that is neither a namespace nor ``.`` nor ``*``."""
    for entry in spec.texts("exportTo"):
        if entry not in {".", "*"} and not _NAMESPACE.match(entry):
            spec.fail("exportTo", f"has {entry!r}", "It can be '.', '*' or the name of a namespace.")
    values = [meta.namespace if entry == "." else entry for entry in spec.texts("exportTo")]
    if len(set(values)) != len(values):
        spec.fail("exportTo", "names one namespace twice", "Name each once.")
