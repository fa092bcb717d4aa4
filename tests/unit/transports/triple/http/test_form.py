"""HTTP requests and responses as calls, without a server."""

from __future__ import annotations

import json

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import status_pb2

from pyrpc_xds.transports.triple.http import form

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_name_and_a_status(code: grpc.StatusCode) -> None:
    response = form.error(code, "why")
    said = json.loads(response.body)
    # gRPC's own spelling differs in one letter.
    assert said == {"code": code.name.lower().replace("cancelled", "canceled"), "message": "why"}
    assert 400 <= response.status < 600


def test_details_of_a_status_are_in_the_error() -> None:
    status = status_pb2.Status(code=5, message="gone")
    status.details.add().Pack(Duration(seconds=3))
    trailers = (("grpc-status-details-bin", status.SerializeToString()), ("other", "x"))
    response = form.error(grpc.StatusCode.NOT_FOUND, "gone", (), trailers)
    assert json.loads(response.body) == {
        "code": "not_found",
        "message": "gone",
        "details": [{"type": "google.protobuf.Duration", "value": "CAM"}],
    }
    assert ("trailer-other", "x") in response.headers
    assert not any("details" in name for name, _ in response.headers)


def test_details_that_are_none_are_left_out() -> None:
    for data in (b"\xff", b"\x1a\x7f", b"\x1a\x02\xff\xff"):
        response = form.error(grpc.StatusCode.NOT_FOUND, "", (), (("grpc-status-details-bin", data),))
        assert json.loads(response.body) == {"code": "not_found"}


def test_headers_of_http_itself_are_no_metadata() -> None:
    names = ["host", "connection", "te", "accept", "sec-fetch-mode", "content-length", "triple-timeout-ms"]
    request = form.Request("POST", "/a.B/C", (("content-type", form.JSON), *((name, "1") for name in names)))
    assert form.call_of(request, 100).metadata == (("content-type", form.JSON),)


def test_headers_of_one_name_stay_several_values() -> None:
    headers = (("content-type", form.PROTO), ("a", "1"), ("a", "2"), ("b-bin", "AA, AQ=="))
    call = form.call_of(form.Request("POST", "/a.B/C?x", headers), 100)
    assert call.path == "/a.B/C"
    assert call.metadata[1:] == (("a", "1"), ("a", "2"), ("b-bin", b"\x00"), ("b-bin", b"\x01"))


def test_surrogates_in_the_text_of_an_error_are_replaced() -> None:
    response = form.error(grpc.StatusCode.UNKNOWN, "no file caf\udce9")
    assert json.loads(response.body)["message"] == "no file caf?"


def test_length_beside_a_transfer_encoding_is_refused() -> None:
    headers = (("content-type", form.JSON), ("content-length", "2"), ("transfer-encoding", "chunked"))
    with pytest.raises(form.Refused, match="exclude each other") as refused:
        form.admit(form.Request("POST", "/a.B/C", headers), 100)
    assert refused.value.response.status == 400


def test_what_no_browser_sends_is_not_sent_back() -> None:
    odd = "https://caf\xe9.example"
    asking = (("access-control-request-method", "POST"), ("access-control-request-headers", "caf\xe9"))
    request = form.Request("OPTIONS", "/a.B/C", (("origin", odd), *asking))
    assert form.preflight(request, ("*",)) is None
    assert form.shared(request, form.Response(200), ("*",)).headers == (("vary", "origin"),)
    asked = form.preflight(
        form.Request("OPTIONS", "/a.B/C", (("origin", "https://a.example"), *asking)), ("*",)
    )
    assert asked is not None and "access-control-allow-headers" not in dict(asked.headers)
