"""Delays between streams."""

from __future__ import annotations

import random

import pytest

from pyrpc_xds.xds.backoff import BackOff


def failures(backoff: BackOff, count: int) -> list[float]:
    return [backoff.delay(answered=False, lifetime=0.0) for _ in range(count)]


def test_delays_grow_by_the_factor_from_one_second_to_two_minutes() -> None:
    delays = failures(BackOff(lambda: 0.5), 20)
    assert delays[:4] == pytest.approx([1.0, 1.6, 2.56, 4.096])
    assert delays[-1] == 120.0


@pytest.mark.parametrize(("draw", "first"), [(0.0, 0.8), (0.5, 1.0), (0.999999, 1.2)])
def test_jitter_is_twenty_percent_either_way(draw: float, first: float) -> None:
    assert failures(BackOff(lambda: draw), 1)[0] == pytest.approx(first, abs=1e-5)


def test_twelve_attempts_at_most_in_the_first_five_minutes() -> None:
    """C1."""
    rng = random.Random(7)
    for _ in range(200):
        elapsed, attempts = 0.0, 1
        backoff = BackOff(rng.random)
        while (elapsed := elapsed + backoff.delay(answered=False, lifetime=0.0)) < 300:
            attempts += 1
        assert attempts <= 12


def test_two_clients_do_not_return_together() -> None:
    """C13: as many pairs within 10 ms as chance allows, over 200 clients spread over 400 ms."""
    rng = random.Random(7)
    first = sorted(failures(BackOff(rng.random), 1)[0] for _ in range(200))
    assert max(sum(1 for other in first if 0 <= other - one < 0.01) for one in first) < 20


def test_stream_that_brought_a_response_is_followed_at_once_and_starts_again() -> None:
    """C4."""
    backoff = BackOff(lambda: 0.5)
    failures(backoff, 5)
    assert backoff.delay(answered=True, lifetime=60.0) == 0.0
    assert failures(backoff, 2) == pytest.approx([1.0, 1.6])


def test_server_that_answers_and_hangs_up_every_time_is_spared() -> None:
    backoff = BackOff(lambda: 0.5)
    assert [backoff.delay(answered=True, lifetime=0.01) for _ in range(3)] == [0.0, 1.0, 1.0]


def test_long_streams_are_followed_at_once_every_time() -> None:
    backoff = BackOff(lambda: 0.5)
    assert [backoff.delay(answered=True, lifetime=5.0) for _ in range(3)] == [0.0, 0.0, 0.0]
