"""What a call's metadata becomes: headers to route by, and what is sent."""

from __future__ import annotations

from typing import Any

import grpc.aio
import pytest

from pyrpc_xds.transports.triple.metadata import base_headers, outgoing

BASE = base_headers("greeter:80", "/pkg.Service/Method")


def routed(metadata: Any, attached: dict[str, str] | None = None) -> dict[str, str]:
    headers = outgoing(metadata, attached or {}, BASE)[1]
    assert headers.items() >= {name: value for name, value in BASE.items() if name not in headers}.items()
    return {name: value for name, value in headers.items() if BASE.get(name) != value}


def sent(metadata: Any, attached: dict[str, str] | None = None) -> list[tuple[str, Any]]:
    return list(outgoing(metadata, attached or {}, BASE)[0] or ())


def test_several_values_of_a_name_are_joined_for_routing_and_sent_apart() -> None:
    pairs = (("tag", "1"), ("tag", "2"), ("user", "admin"))
    assert routed(pairs) == {"tag": "1,2", "user": "admin"}
    assert sent(pairs) == list(pairs)


def test_binary_metadata_is_sent_and_not_matched() -> None:
    assert routed((("blob-bin", b"\xff"), ("user", "a"))) == {"user": "a"}
    assert sent((("blob-bin", b"\xff"),)) == [("blob-bin", b"\xff")]


def test_ascii_values_given_as_bytes_are_matched_as_text() -> None:
    assert routed((("user", b"admin"),)) == {"user": "admin"}


def test_attachments_alone_are_matched_and_sent() -> None:
    assert routed(None, {"user": "admin"}) == {"user": "admin"}
    assert sent(None, {"user": "admin"}) == [("user", "admin")]


def test_explicit_metadata_replaces_an_attachment_of_its_name() -> None:
    assert routed((("user", "explicit"),), {"user": "attached", "zone": "a"}) == {
        "user": "explicit",
        "zone": "a",
    }
    assert sorted(sent((("user", "explicit"),), {"user": "attached", "zone": "a"})) == [
        ("user", "explicit"),
        ("zone", "a"),
    ]


def test_explicit_binary_metadata_replaces_nothing_but_its_name() -> None:
    assert sorted(sent((("blob-bin", b"x"),), {"user": "a"})) == [("blob-bin", b"x"), ("user", "a")]


@pytest.mark.parametrize("of", [tuple, list, iter, lambda pairs: grpc.aio.Metadata(*pairs)])
def test_metadata_of_any_iterable_is_read_once(of: Any) -> None:
    pairs, headers = outgoing(of([("user", "admin")]), {}, BASE)
    assert headers["user"] == "admin"
    assert list(pairs or ()) == [("user", "admin")]
    assert list(pairs or ()) == [("user", "admin")]


def test_metadata_with_nothing_to_add_is_passed_on_itself() -> None:
    metadata = (("user", "admin"),)
    assert outgoing(metadata, {}, BASE)[0] is metadata


def test_shared_headers_of_the_method_are_not_changed() -> None:
    before = dict(BASE)
    outgoing((("user", "admin"),), {"zone": "a"}, BASE)
    assert before == BASE
