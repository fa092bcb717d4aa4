"""Pickers: every test runs compiled and uncompiled."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ext.chi_square import p_value
from tests.unit.ext.variants import NAMES, variant

DRAWS = 100_000


def expected(weights: dict[str, int], draws: int = DRAWS) -> dict[str, float]:
    total = sum(weights.values())
    return {name: draws * weight / total for name, weight in weights.items() if weight}


# --- Rng


def test_rng_gives_the_published_splitmix64_sequence(picker: Any) -> None:
    rng = picker.Rng(1234567)
    assert [rng.next() for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(seed=st.integers(), bounds=st.lists(st.integers(1, 2**32), min_size=1))
def test_rng_of_every_build_draws_the_same(seed: int, bounds: list[int]) -> None:
    drawn = []
    for name in NAMES:
        rng = variant(name).picker.Rng(seed)
        drawn.append([rng.below(bound) for bound in bounds])
        assert all(number in range(bound) for number, bound in zip(drawn[-1], bounds, strict=True))
    assert all(numbers == drawn[0] for numbers in drawn)


def test_rng_seeded_again_repeats_itself(picker: Any) -> None:
    rng = picker.Rng(1)
    first = [rng.next() for _ in range(3)]
    rng.seed(1)
    assert [rng.next() for _ in range(3)] == first


def test_rng_below_is_uniform_where_the_bound_does_not_divide_the_range(picker: Any) -> None:
    rng = picker.Rng(5)
    bound = 3 * 2**30  # without rejection, every third number would come twice as often as the others
    seen = Counter(rng.below(bound) % 3 for _ in range(DRAWS))
    assert p_value(seen, {0: DRAWS / 3, 1: DRAWS / 3, 2: DRAWS / 3}) > 0.001


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_rng_reseeded_in_a_forked_child_leaves_the_parents_sequence(picker: Any) -> None:
    rng = picker.Rng(1)
    following = picker.Rng(1).next()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        rng.seed(2)
        os.write(writing, str(rng.next()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert int(pipe.read()) == picker.Rng(2).next()
    assert rng.next() == following


# --- WeightedPicker


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 1, "b": 1},
        {"a": 90, "b": 10},
        {"a": 1, "b": 0, "c": 99},
        {"a": 0, "b": 3, "c": 5, "d": 0},
        {"a": 2**31, "b": 2**31 - 1},
        {"a": 2**31, "b": 2**31},
        {str(i): i for i in range(1, 40)},
    ],
    ids=repr,
)
def test_weighted_picks_follow_the_weights(picker: Any, weights: dict[str, int]) -> None:
    weighted = picker.WeightedPicker(tuple(weights), tuple(weights.values()), picker.Rng(11))
    seen = Counter(weighted.pick() for _ in range(DRAWS))
    assert p_value(seen, expected(weights)) > 0.001


@given(weights=st.lists(st.integers(0, 2**28), min_size=1, max_size=12).filter(any), seed=st.integers())
def test_weighted_never_picks_a_weight_of_zero(weights: list[int], seed: int) -> None:
    for name in NAMES:
        picker = variant(name).picker
        weighted = picker.WeightedPicker(tuple(range(len(weights))), tuple(weights), picker.Rng(seed))
        assert all(weights[weighted.pick()] for _ in range(30))


def test_weighted_picks_a_rare_item_as_often_as_its_weight_says(picker: Any) -> None:
    weighted = picker.WeightedPicker(("often", "rare"), (999, 1), picker.Rng(3))
    seen = Counter(weighted.pick() for _ in range(DRAWS))
    assert p_value(seen, expected({"often": 999, "rare": 1})) > 0.001


@pytest.mark.parametrize(
    ("items", "weights"),
    [
        ((), ()),
        (("a",), (0,)),
        (("a", "b"), (1,)),
        (("a",), (-1,)),
        (("a", "b"), (2**32, 1)),
        (("a", "b"), (2, -1)),
    ],
)
@pytest.mark.parametrize("kind", ["WeightedPicker", "WeightedRoundRobinPicker"])
def test_weights_that_cannot_be_picked_by_are_refused(
    picker: Any, kind: str, items: tuple[str, ...], weights: tuple[int, ...]
) -> None:
    rest = (picker.Rng(0),) if kind == "WeightedPicker" else ()
    with pytest.raises(ValueError, match="weight"):
        getattr(picker, kind)(items, weights, *rest)


def test_pickers_of_both_builds_pick_the_same() -> None:
    def picks(picker: Any) -> list[object]:
        rng = picker.Rng(7)
        a = picker.WeightedPicker((1, 2, 3), (5, 1, 4), rng)
        b = picker.WeightedRoundRobinPicker((4, 5, 6), (70, 20, 10), 2**63 + 5)
        c = picker.LocalityPicker((a, b), (1, 2), rng)
        return [one.pick() for _ in range(200) for one in (a, b, c)]

    assert all(picks(variant(name).picker) == picks(variant("python").picker) for name in NAMES)


# --- RandomPicker, SinglePicker, Picker


def test_random_picks_every_item_alike(picker: Any) -> None:
    chosen = picker.RandomPicker(tuple("abcdefg"), picker.Rng(17))
    seen = Counter(chosen.pick() for _ in range(DRAWS))
    assert p_value(seen, expected(dict.fromkeys("abcdefg", 1))) > 0.001


def test_single_always_picks_its_item(picker: Any) -> None:
    single = picker.SinglePicker(("only",))
    assert [single.pick() for _ in range(3)] == ["only"] * 3


def test_a_picker_without_items_is_refused(picker: Any) -> None:
    for make in (
        picker.SinglePicker,
        picker.RoundRobinPicker,
        lambda items: picker.RandomPicker(items, picker.Rng(0)),
    ):
        with pytest.raises(ValueError, match="at least one"):
            make(())


def test_items_are_kept_in_order_and_returned_by_identity(picker: Any) -> None:
    items = (object(), object())
    chosen = picker.RoundRobinPicker(items)
    assert chosen.items == items
    assert chosen.pick() is items[0]


# --- RoundRobinPicker


@pytest.mark.parametrize("start", [0, 1, 4, 5, 2**64 - 1])
def test_round_robin_starts_where_told_and_takes_turns(picker: Any, start: int) -> None:
    turns = picker.RoundRobinPicker(tuple(range(5)), start)
    assert [turns.pick() for _ in range(12)] == [(start + i) % 5 for i in range(12)]


@contextmanager
def switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def picked_by_threads(chosen: Any, threads: int, each: int) -> Counter[Any]:
    seen: list[list[Any]] = [[] for _ in range(threads)]

    def run(into: list[Any]) -> None:
        for _ in range(each):
            into.append(chosen.pick())  # noqa: PERF401  (a comprehension would not give way as often)

    workers = [threading.Thread(target=run, args=(into,)) for into in seen]
    with switching_often():
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return Counter(item for into in seen for item in into)


@pytest.mark.parametrize("kind", ["RoundRobinPicker", "WeightedRoundRobinPicker"])
def test_round_robin_stays_even_when_threads_race(picker: Any, kind: str) -> None:
    items = tuple(range(7))
    rest = ((1,) * 7,) if kind == "WeightedRoundRobinPicker" else ()
    seen = picked_by_threads(getattr(picker, kind)(items, *rest), threads=4, each=5_000)
    assert sum(seen.values()) == 20_000
    assert all(abs(count - 20_000 / 7) < 0.1 * 20_000 / 7 for count in seen.values())


# --- WeightedRoundRobinPicker


@given(
    weights=st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(any), start=st.integers(0, 2**64 - 1)
)
def test_weighted_round_robin_gives_each_item_exactly_its_weight(weights: list[int], start: int) -> None:
    for name in NAMES:
        picker = variant(name).picker
        turns = picker.WeightedRoundRobinPicker(tuple(range(len(weights))), tuple(weights), start)
        seen = Counter(turns.pick() for _ in range(sum(weights)))
        assert seen == Counter({item: weight for item, weight in enumerate(weights) if weight})


def test_weighted_round_robin_spreads_an_item_over_the_rounds(picker: Any) -> None:
    turns = picker.WeightedRoundRobinPicker(("a", "b"), (3, 1))
    picks = "".join(turns.pick() for _ in range(40))
    assert "bb" not in picks
    assert "aaaaaaa" not in picks


def test_weighted_round_robin_holds_at_the_largest_weights(picker: Any) -> None:
    weights = {"a": 2**32 - 2**30, "b": 2**30}
    turns = picker.WeightedRoundRobinPicker(tuple(weights), tuple(weights.values()), 2**64 - 1)
    seen = Counter(turns.pick() for _ in range(4_000))
    assert seen == {"a": pytest.approx(3_000, abs=5), "b": pytest.approx(1_000, abs=5)}


# --- LocalityPicker


def test_localities_share_by_weight_and_endpoints_by_their_own_policy(picker: Any) -> None:
    near = picker.RoundRobinPicker(("near-0", "near-1"))
    far = picker.WeightedPicker(("far-0", "far-1"), (3, 1), picker.Rng(1))
    chosen = picker.LocalityPicker((near, far), (4, 1), picker.Rng(2))
    seen = Counter(chosen.pick() for _ in range(DRAWS))
    shares = {"near-0": 40, "near-1": 40, "far-0": 15, "far-1": 5}
    assert abs(seen["near-0"] - seen["near-1"]) <= 1
    assert p_value(seen, expected(shares)) > 0.001
