"""What every decoder shares: refusal with a field path, durations, config sources, regular expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from ...errors import ConfigError, ResourceInvalid

T = TypeVar("T")

# google.protobuf.Duration's own range: about 10,000 years.
_MAX_SECONDS = 315_576_000_000
MAX_UINT32 = 2**32 - 1


class Refused(Exception):
    """A message breaks a rule. Callers put their field in front while it travels up.

    :param reason: names the offending field first where it is not the message itself.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

    def inside(self, place: str) -> Refused:
        """The same refusal, seen from the message that contains ``place``."""
        return Refused(f"{place}: {self.reason}")


def decoder(
    kind: str, message_type: type[Message], name_of: Callable[[Any], str], build: Callable[[Any], T]
) -> Callable[[bytes], T]:
    """A decoder of bytes out of ``build``, which makes a parsed message a model or raises :class:`Refused`.

    Any other exception of ``build`` is a bug of ours; it must not cost more than the resource that met it
    (A46: good resources of the same response are kept), so it is attributed like a refusal.

    :param kind: short name of the resource type, for error texts.
    :param name_of: the resource's name in a parsed message.
    """

    def decode(raw: bytes) -> T:
        message = message_type()
        try:
            message.ParseFromString(raw)
        except DecodeError as error:
            raise ResourceInvalid(kind, "", f"not a {message_type.DESCRIPTOR.full_name}: {error}") from None
        name = name_of(message)
        if not name:
            raise ResourceInvalid(kind, "", "the resource has no name")
        try:
            return build(message)
        except Refused as error:
            raise ResourceInvalid(kind, name, error.reason) from None
        except Exception as error:
            raise ResourceInvalid(
                kind, name, f"decoder failed with {type(error).__name__}: {error}"
            ) from error

    return decode


def seconds(duration: Any, field: str) -> float:
    """A google.protobuf.Duration in seconds.

    :raises Refused: it is negative or out of the range of its type.
    """
    whole: int = duration.seconds
    nanos: int = duration.nanos
    if whole < 0 or nanos < 0 or whole > _MAX_SECONDS or nanos > 999_999_999:
        raise Refused(f"{field}: {whole} s {nanos} ns is not a valid duration")
    return float(whole) + nanos * 1e-9


def limit(duration: Any, field: str) -> float | None:
    """A duration that limits something, where zero means no limit."""
    return seconds(duration, field) or None


def require_ads(config_source: Any, field: str) -> None:
    """A27 and A74: what a resource refers to must come over the same ADS stream.

    :raises Refused: another config source is named, or none.
    """
    which = config_source.WhichOneof("config_source_specifier")
    if which not in ("ads", "self"):
        raise Refused(f"{field}: config source {which or 'missing'}; only ads and self are supported")


def regex(matcher: Any, field: str) -> str:
    """The pattern of an envoy.type.matcher.v3.RegexMatcher, known to compile.

    :raises Refused: it does not compile, or nothing here can compile it.
    """
    # The routing layer owns the engine, and its optional dependency; without a regex neither is needed.
    from ...routing.regex import validate_regex

    pattern = str(matcher.regex)
    try:
        validate_regex(pattern)
    except ConfigError as error:
        raise Refused(f"{field}: {error}") from None
    return pattern


def type_name(type_url: str) -> str:
    """The message's full name in a type URL."""
    return type_url.rpartition("/")[2]
