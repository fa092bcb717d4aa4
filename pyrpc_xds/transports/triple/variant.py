"""Dubbo's service group and version, which tell the implementations of one interface apart.

A call names them in the headers ``tri-service-group`` and ``tri-service-version`` (dubbo-go 3.3.0, Dubbo Java 3.3.4).
"""

from __future__ import annotations

from ...attachments import checked

VERSION_HEADER = "tri-service-version"
GROUP_HEADER = "tri-service-group"

#: Group and version.
Variant = tuple[str, str]
PLAIN: Variant = ("", "")
# Dubbo's way to write "no version".
_NO_VERSION = "0.0.0"


def variant(group: str, version: str) -> Variant:
    """The key of a group and version as Dubbo compares them."""
    return group, "" if version == _NO_VERSION else version


def selection(default: Variant, group: str | None, version: str | None) -> Variant:
    """The key where ``None`` means the default's."""
    return variant(default[0] if group is None else group, default[1] if version is None else version)


def headers(group: str, version: str) -> tuple[tuple[str, str], ...]:
    """The metadata that selects them.

    :raises UsageError: one of them cannot travel as a header.
    """
    selected = zip((GROUP_HEADER, VERSION_HEADER), variant(group, version), strict=True)
    return tuple(checked({name: value for name, value in selected if value}).items())
