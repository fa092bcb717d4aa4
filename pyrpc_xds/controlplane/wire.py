"""Small builders shared by the generators of the four resource types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from .envoy import (
    Address,
    AggregatedConfigSource,
    AnyMessage,
    ConfigSource,
    FractionalPercent,
    FractionalPercentDenominatorType,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Message,
    Metadata,
    RegexMatcher,
    RuntimeFractionalPercent,
    SocketAddress,
    StringMatcher,
    Struct,
    Value,
)
from .resources import MatchKind, StringMatch

LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

NO_TIMEOUT = timedelta(0)  # Envoy: a zero timeout is none at all


def packed(message: Message) -> AnyMessage:
    """``message`` as an Any."""
    _trust(message)
    return AnyMessage.pack(message)


def encoded(message: Message) -> bytes:
    """The wire form of ``message``."""
    _trust(message)
    return bytes(message)


def _trust(message: Message) -> None:
    """Have the library encode ``message`` and what is in it without validating them a second time.

    Construction has validated them. Before each encoding the library would do so again, message by message,
    with a validator that it makes anew every time: measured, 95 % of the time of an encoding. It would also
    warn of the deprecated fields that istiod still sends. This sets what the library asks itself about an
    instance on these instances only; its classes stay as they are.
    """
    vars(message)["_is_pydantic"] = _no
    for value in vars(message).values():
        if isinstance(value, Message):
            _trust(value)
        elif isinstance(value, list | dict):
            for item in value if isinstance(value, list) else value.values():
                if isinstance(item, Message):
                    _trust(item)


def _no() -> bool:
    return False


def append_encoded(message: Message, field_number: int, values: Iterable[bytes]) -> None:
    """Give ``message`` a repeated field of messages that are encoded already.

    The library writes out fields that it does not know as they came, behind its own; nothing in the wire
    format tells them apart.
    """
    message._unknown_fields += b"".join(length_delimited(field_number, value) for value in values)


def length_delimited(field_number: int, value: bytes) -> bytes:
    """A string, bytes or message field on the wire."""
    return varint(field_number << 3 | 2) + varint(len(value)) + value


def varint(number: int) -> bytes:
    """An unsigned number on the wire, seven bits to a byte, the lowest first."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def ads() -> ConfigSource:
    """The configuration source that says: on this same stream."""
    return ConfigSource(ads=AggregatedConfigSource())


def socket_address(address: str, port: int) -> Address:
    """A TCP address."""
    return Address(socket_address=SocketAddress(address=address, port_value=port))


def filter_metadata(values: Mapping[str, Mapping[str, str]]) -> Metadata:
    """Filter metadata: strings, by the name of the filter and a key."""
    return Metadata(
        filter_metadata={
            name: Struct(fields={key: Value(string_value=value) for key, value in fields.items()})
            for name, fields in values.items()
        }
    )


def string_matcher(match: StringMatch) -> StringMatcher | None:
    """The Envoy form of a match, or None for one that only asks whether something is there."""
    match match.kind:
        case MatchKind.EXACT:
            return StringMatcher(exact=match.value)
        case MatchKind.PREFIX:
            return StringMatcher(prefix=match.value)
        case MatchKind.REGEX:
            return StringMatcher(safe_regex=RegexMatcher(regex=match.value))
        case MatchKind.PRESENT:
            return None


def percent_of_million(value: float) -> FractionalPercent:
    """A percentage, to four decimals, as Istio sends its ``Percent``."""
    return FractionalPercent(
        numerator=int(value * 10000), denominator=FractionalPercentDenominatorType.MILLION
    )


def whole_percent(value: int) -> FractionalPercent:
    """A whole percentage."""
    return FractionalPercent(numerator=value, denominator=FractionalPercentDenominatorType.HUNDRED)


def runtime_percent(value: FractionalPercent) -> RuntimeFractionalPercent:
    """A percentage that could be changed at run time, and is not."""
    return RuntimeFractionalPercent(default_value=value)


def header_options(values: Iterable[tuple[str, str]], *, append: bool) -> list[HeaderValueOption]:
    """Headers to add, by name; with ``append`` beside what is there, else instead of it.

    The host header is not among them: it is rewritten by the route action.
    """
    action = HeaderValueOptionHeaderAppendAction
    how = action.APPEND_IF_EXISTS_OR_ADD if append else action.OVERWRITE_IF_EXISTS_OR_ADD
    return [
        HeaderValueOption(header=HeaderValue(key=key, value=value), append_action=how)
        for key, value in sorted(values)
        if not is_internal_header(key)
    ]


def is_internal_header(name: str) -> bool:
    """Whether a header is a pseudo header, or the host, which is one in HTTP/2."""
    return name.startswith(":") or name.lower() == "host"
