"""Pickers: which destination takes the next call.

A leaf: it imports nothing, so that this file is at once the reference that runs uncompiled and the source of
the compiled module (``_picker.pxd`` beside it gives the C types). ``pick()`` returns the opaque object that
the caller put in. No picker takes a lock; see each class for what threads can observe.
"""

from typing import Any

MASK = 0xFFFFFFFFFFFFFFFF
GAMMA = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB
LOW_32 = 0xFFFFFFFF
MAX_TOTAL = 0x100000000
OFFSET = 0x7FFFFFFF  # a prime: shares a factor with a number of rounds only if it divides it


class Rng:
    """SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).

    Not for secrets. Threads may share one: at worst two of them see the same number once, uncompiled.

    :param seed: any integer, taken modulo 2**64. Processes that fork call :meth:`seed` in the child,
        or parent and children draw the same numbers.
    """

    def __init__(self, seed: int) -> None:
        self.state = seed & MASK

    def seed(self, seed: int) -> None:
        """Start again from ``seed`` (modulo 2**64)."""
        self.state = seed & MASK

    def next(self) -> int:
        """The next number, uniform in [0, 2**64)."""
        state = (self.state + GAMMA) & MASK
        self.state = state
        state = ((state ^ (state >> 30)) * MIX_1) & MASK
        state = ((state ^ (state >> 27)) * MIX_2) & MASK
        return state ^ (state >> 31)

    def below(self, bound: int) -> int:
        """A number uniform in [0, bound), exactly (Lemire: "Fast random integer generation", 2019).

        :param bound: 1 to 2**32.
        """
        product = (self.next() >> 32) * bound
        low = product & LOW_32
        if low < bound:
            floor = (MAX_TOTAL - bound) % bound
            while low < floor:
                product = (self.next() >> 32) * bound
                low = product & LOW_32
        return product >> 32


class Picker:
    """Base of the pickers; ``items`` is what can be picked, in the order given."""

    def __init__(self, items: tuple[object, ...]) -> None:
        self.items = tuple(items)
        self.count = len(self.items)
        if not self.count:
            raise ValueError("a picker needs at least one item")

    def pick(self) -> object:
        """The item that takes the next call."""
        raise NotImplementedError


class SinglePicker(Picker):
    """Always the one item."""

    def pick(self) -> object:
        """See :class:`Picker`."""
        return self.items[0]


class RandomPicker(Picker):
    """Every item with the same chance."""

    def __init__(self, items: tuple[object, ...], rng: Rng) -> None:
        Picker.__init__(self, items)
        self.rng = rng

    def pick(self) -> object:
        """See :class:`Picker`."""
        return self.items[self.rng.below(self.count)]


class RoundRobinPicker(Picker):
    """Every item in turn.

    Threads: compiled, a turn cannot be interrupted; uncompiled, two threads may now and then get the same
    turn. The index is never out of range, because it is checked before it is stored.

    :param start: the first turn, modulo the number of items. Callers give a random one, or every client of a
        service begins at the same endpoint.
    """

    def __init__(self, items: tuple[object, ...], start: int = 0) -> None:
        Picker.__init__(self, items)
        self.turn = start % self.count

    def pick(self) -> object:
        """See :class:`Picker`."""
        turn = self.turn
        self.turn = turn + 1 if turn + 1 < self.count else 0
        return self.items[turn]


class WeightedPicker(Picker):
    """Every item with the chance ``weight / sum(weights)``; one of weight 0 is never picked.

    :param weights: one per item, none negative; the sum is 1 to 2**32 (the limit of xDS is 2**32 - 1).
    """

    def __init__(self, items: tuple[object, ...], weights: tuple[int, ...], rng: Rng) -> None:
        kept, self.edges = positive(items, weights)
        Picker.__init__(self, kept)
        self.rng = rng
        self.total = self.add_up()
        self.first_edge = self.edges[0]

    def add_up(self) -> int:
        """Make edges of the weights; the last one is their sum."""
        edges = self.edges
        edge = 0
        for index in range(self.count):
            edge = edge + edges[index]
            edges[index] = edge
        return edge

    def pick(self) -> object:
        """See :class:`Picker`."""
        if self.count == 1:
            return self.items[0]
        draw = self.rng.below(self.total)
        if draw < self.first_edge:
            return self.items[0]
        low = 1
        high = self.count - 1
        while low < high:
            middle = (low + high) >> 1
            edge = self.edges[middle]
            if draw < edge:
                high = middle
            else:
                low = middle + 1
        return self.items[low]


class WeightedRoundRobinPicker(Picker):
    """Every item in turn, in proportion to its weight and evenly spread.

    The static stride scheduler of gRFC A58: there are as many rounds as the largest weight, and an item of
    weight ``w`` takes part in exactly ``w`` of them. The largest takes part in all, so that a pick looks at
    fewer than two rounds of items; it looks at ``largest / mean weight`` of them on average, so that very
    uneven weights are better served by :class:`WeightedPicker`. Threads: as :class:`RoundRobinPicker`.

    :param weights: as :class:`WeightedPicker`.
    :param start: the first turn. A random one spreads clients, as there.
    """

    def __init__(self, items: tuple[object, ...], weights: tuple[int, ...], start: int = 0) -> None:
        kept, self.weights = positive(items, weights)
        Picker.__init__(self, kept)
        self.largest = max(self.weights)
        self.offsets: list[int] = []
        self.spread()
        self.turn = start % self.count
        self.round = (start // self.count) % self.largest

    def spread(self) -> None:
        """Give each item its own offset, or all of one weight would sit out the same rounds."""
        offsets = self.offsets
        largest = self.largest
        for index in range(self.count):
            offset = index * OFFSET % largest
            offsets.append(offset)

    def pick(self) -> object:
        """See :class:`Picker`."""
        turn = self.turn
        round_ = self.round
        while True:
            weight = self.weights[turn]
            offset = self.offsets[turn]
            phase = (weight * round_ % self.largest + offset) % self.largest
            chosen = turn
            turn = turn + 1
            if turn == self.count:
                turn = 0
                round_ = round_ + 1 if round_ + 1 < self.largest else 0
            if phase >= self.largest - weight:
                self.turn = turn
                self.round = round_
                return self.items[chosen]


class LocalityPicker(Picker):
    """A locality by weight, then an endpoint by the locality's own picker (gRFC A27).

    :param pickers: one picker per locality of the priority in use.
    :param weights: of the localities, as :class:`WeightedPicker`.
    """

    def __init__(self, pickers: tuple[Picker, ...], weights: tuple[int, ...], rng: Rng) -> None:
        Picker.__init__(self, pickers)
        self.localities = WeightedPicker(pickers, weights, rng)

    def pick(self) -> object:
        """See :class:`Picker`."""
        picker: Any = self.localities.pick()
        return picker.pick()


def positive(items: tuple[object, ...], weights: tuple[int, ...]) -> tuple[tuple[object, ...], list[int]]:
    """Items and their weights, those of weight 0 left out.

    :raises ValueError: the counts differ, a weight is negative, or the sum is not 1 to 2**32.
    """
    if len(items) != len(weights):
        raise ValueError(f"{len(items)} items with {len(weights)} weights")
    least = min(weights, default=0)
    if least < 0:
        raise ValueError("a weight is negative")
    if not 1 <= sum(weights) <= MAX_TOTAL:
        raise ValueError(f"the weights sum to {sum(weights)}, not 1 to 2**32")
    if least:
        return tuple(items), list(weights)
    kept = [(item, weight) for item, weight in zip(items, weights, strict=True) if weight]
    return tuple([item for item, _ in kept]), [weight for _, weight in kept]
