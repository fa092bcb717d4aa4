"""Errors before grpcio has the call: caught by every clause that a gRPC program has."""

from __future__ import annotations

import copy
import pickle

import grpc
import grpc.aio
import pytest

from pyrpc_xds import errors
from pyrpc_xds.transports.triple import (
    TripleCancelled,
    TripleDeadlineExceeded,
    TripleError,
    TripleUnavailable,
)
from pyrpc_xds.transports.triple.errors import translated

CASES = [
    (TripleUnavailable, errors.Unavailable, errors.Code.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
    (
        TripleDeadlineExceeded,
        errors.DeadlineExceeded,
        errors.Code.DEADLINE_EXCEEDED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    ),
    (TripleCancelled, errors.CallError, errors.Code.CANCELLED, grpc.StatusCode.CANCELLED),
]


@pytest.mark.parametrize(("cls", "core", "code", "status"), CASES)
class TestShape:
    @pytest.mark.parametrize("interface", [grpc.RpcError, grpc.Call, grpc.Future, grpc.aio.AioRpcError])
    def test_is_every_error_of_grpc(
        self, cls: type[TripleError], core: type, code: errors.Code, status: grpc.StatusCode, interface: type
    ) -> None:
        assert isinstance(cls("why"), interface)
        assert isinstance(cls("why"), core)

    def test_code_is_a_value_for_us_and_a_method_for_grpc(
        self, cls: type[TripleError], core: type, code: errors.Code, status: grpc.StatusCode
    ) -> None:
        error = cls("why")
        assert error.code == code
        assert error.code() is status
        assert cls.code == code
        assert repr(error.code) == repr(code)

    def test_has_the_methods_of_a_call_that_is_over(
        self, cls: type[TripleError], core: type, code: errors.Code, status: grpc.StatusCode
    ) -> None:
        error = cls("why")
        assert error.details() == error.details_text == error.debug_error_string() == "why"
        assert not tuple(error.initial_metadata()) and not tuple(error.trailing_metadata())
        assert (error.is_active(), error.running(), error.done()) == (False, False, True)
        assert error.cancelled() is (status is grpc.StatusCode.CANCELLED)
        assert (error.cancel(), error.add_callback(print), error.time_remaining()) == (False, False, None)
        assert error.exception() is error
        with pytest.raises(cls):
            error.result()

    def test_text_names_the_status(
        self, cls: type[TripleError], core: type, code: errors.Code, status: grpc.StatusCode
    ) -> None:
        assert str(cls("why")) == f"{status.name}: why"

    @pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
    def test_survives_copying(
        self, cls: type[TripleError], core: type, code: errors.Code, status: grpc.StatusCode, again: object
    ) -> None:
        error = again(cls("why"))  # type: ignore[operator]
        assert (type(error), error.details(), error.code()) == (cls, "why", status)


def test_core_error_is_translated_with_target_and_path() -> None:
    late = translated(errors.DeadlineExceeded("no configuration"), "xds:///a:1", "/b/c")
    assert type(late) is TripleDeadlineExceeded
    assert late.details() == "xds:///a:1 /b/c: no configuration"
    assert type(translated(errors.Unavailable("x"), "a", "/b")) is TripleUnavailable


def test_own_error_is_left_as_it_is() -> None:
    error = TripleUnavailable("why")
    assert translated(error, "a", "/b") is error


def test_code_of_an_unknown_failure_never_looks_like_one_of_the_control_planes() -> None:
    error = translated(errors.CallError("x"), "a", "/b")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
