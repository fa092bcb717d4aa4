"""The elements of a repeated field, cut out of an encoded protobuf message without decoding them.

An assignment of a thousand endpoints differs from the one before in a few of them. Cut out and still encoded, those
that are the same are found by their bytes.
"""

from __future__ import annotations

_VARINT = 0
_FIXED64 = 1
_LENGTH = 2
_FIXED32 = 5


class Malformed(ValueError):
    """The bytes are no message in this form; protobuf's parser says what is wrong, if anything."""


class Cutter:
    """Walks one encoded message.

    :param raw: the message.
    """

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.pos = 0

    def cut(
        self, outer: int, inner: int, before: list[list[bytes]]
    ) -> tuple[bytes, list[list[bytes]], list[list[int]]]:
        """Take the elements of field ``inner`` out of every element of field ``outer``.

        :param outer: number of a repeated field of messages in the message.
        :param inner: number of a repeated field of messages in those.
        :param before: what was taken out of another message, such as an earlier version.
        :returns: the message without them; by element of ``outer`` what was taken out, in order; and, in the same
            way, at which places that is something else than ``before``. At the others it is the same object.
        :raises Malformed: a length goes beyond the end, or a field is of a kind that no encoder writes any more.
        """
        raw = self.raw
        end = len(raw)
        outer_key = outer << 3 | _LENGTH
        rest = []
        taken: list[list[bytes]] = []
        changed = []
        self.pos = 0
        while self.pos < end:
            start = self.pos
            key = self.varint(end)
            if key != outer_key:
                self.skip(key, end)
                rest.append(raw[start : self.pos])
                continue
            stop = self.length(end)
            known = before[len(taken)] if len(taken) < len(before) else []
            elements: list[bytes] = []
            places: list[int] = []
            kept = self.cut_one(inner << 3 | _LENGTH, stop, known, elements, places)
            taken.append(elements)
            changed.append(places)
            rest.append(varint(outer_key))
            rest.append(varint(len(kept)))
            rest.append(kept)
        return b"".join(rest), taken, changed

    def cut_one(
        self, inner_key: int, end: int, known: list[bytes], elements: list[bytes], places: list[int]
    ) -> bytes:
        """:meth:`cut` of one element, which ends at ``end``; what is left of it."""
        raw = self.raw
        count = len(known)
        rest = []
        while self.pos < end:
            start = self.pos
            key = self.varint(end)
            if key != inner_key:
                self.skip(key, end)
                rest.append(raw[start : self.pos])
                continue
            stop = self.length(end)
            place = len(elements)
            if place < count:
                part = known[place]
                if len(part) == stop - self.pos and raw.startswith(part, self.pos):
                    elements.append(part)
                    self.pos = stop
                    continue
            elements.append(raw[self.pos : stop])
            places.append(place)
            self.pos = stop
        return b"".join(rest)

    def length(self, end: int) -> int:
        """Where the value that begins with its length ends."""
        size = self.varint(end)
        left = end - self.pos
        if size > left:
            raise Malformed(f"a field goes beyond the end at byte {self.pos}")
        return self.pos + size

    def skip(self, key: int, end: int) -> None:
        """Pass the value of a field."""
        kind = key & 7
        if kind == _LENGTH:
            self.pos = self.length(end)
        elif kind == _VARINT:
            self.varint(end)
        elif kind == _FIXED64 and end - self.pos >= 8:
            self.pos = self.pos + 8
        elif kind == _FIXED32 and end - self.pos >= 4:
            self.pos = self.pos + 4
        else:
            raise Malformed(f"a field of kind {kind} at byte {self.pos}")

    def varint(self, end: int) -> int:
        """The number at hand. Above 63 bits there is no length or key."""
        raw = self.raw
        value = 0
        shift = 0
        while self.pos < end and shift < 70:
            byte = raw[self.pos]
            self.pos = self.pos + 1
            if shift < 63:
                value = value | (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift = shift + 7
        raise Malformed(f"a number goes beyond the end at byte {self.pos}")


def varint(number: int) -> bytes:
    """A number, encoded."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number = number >> 7
    encoded.append(number)
    return bytes(encoded)
