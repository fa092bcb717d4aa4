"""Bounds-checking scan of one Thrift message that comes from an untrusted peer.

thriftpy2's decoder trusts lengths and counts. A message is therefore walked here first: every length fits in
what is left of the message, every container's count times the least size of its elements does too, nesting
and the total of elements have limits, sizes are not negative, numbers have the bits of their type, and every type is
known. Where the decoder reads a value by the type in the IDL and not by the one on the wire, the schema is compared as
well. What the decoder will make is added up, and a message that is worth too little for it is refused: an empty struct
is one byte, and an object of some hundred. A message that passes is decoded by thriftpy2 from exactly the bytes walked.

The scan is a push parser. It keeps at most one unfinished primitive between pieces, so its work is linear in
the bytes whatever the pieces are: byte by byte is the same as whole.
"""

from __future__ import annotations

from typing import Any

BINARY = 1
COMPACT = 2

# Longer names only serve to make replies and log lines large.
NAME_LIMIT = 1024

_STRUCT_FORM = 0
_SEQUENCE_FORM = 1

_BOOL = 2
_I16 = 6
_I32 = 8
_STRING = 11
_STRUCT = 12
_MAP = 13

# Indexed by wire type (bool 2, byte 3, double 4, i16 6, i32 8, i64 10, string 11, struct 12, map 13, set 14,
# list 15). Size of a value whose size the type alone says; 0: it does not.
_FIXED_BINARY = b"\x00\x00\x01\x01\x08\x00\x02\x00\x04\x00\x08\x00\x00\x00\x00\x00"
_FIXED_COMPACT = b"\x00\x00\x01\x01\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
# The least bytes that a value takes; 0: there is no such type.
_LEAST_BINARY = b"\x00\x00\x01\x01\x08\x00\x02\x00\x04\x00\x08\x04\x01\x06\x05\x05"
_LEAST_COMPACT = b"\x00\x00\x01\x01\x08\x00\x01\x00\x01\x00\x01\x01\x01\x01\x01\x01"
# The most bytes of the varint of an integer type.
_VARINT = b"\x00\x00\x00\x00\x00\x00\x03\x00\x05\x00\x0a\x00\x00\x00\x00\x00"
# What a decoded value takes, in bytes of CPython on 64 bits, besides what a container has for each of its elements and
# the text of a string; a struct's is in the schema. Measured: tests/unit/transports/thrift/test_amplification.py.
_PRICE = b"\x00\x00\x00\x20\x20\x00\x20\x00\x20\x00\x20\x40\x00\x50\x50\x50"
# For a list that is not empty, and for each element; for a map likewise, and for each entry.
_LIST = 32
_SLOT = 8
_MAP_TABLE = 160
_ENTRY = 48
# For each pair of structs that are keys of one map, in time: different ones of equal hashes can be made at will, as
# hash(-1) == hash(-2), and are compared with one another.
_KEYS = 32
# Every message may take as much, however small it is.
FREE = 1 << 20

# Compact type -> binary type. 255: there is no such type.
_CANONICAL = b"\x00\x02\x02\x03\x06\x08\x0a\x04\x0b\x0f\x0e\x0d\x0c\xff\xff\xff"

_HEAD = 0
_NAME = 1
_TAIL = 2
_BODY = 3
_DONE = 4


class ScanError(ValueError):
    """The bytes are not a message of the protocol, or exceed a limit.

    :ivar kind: what is wrong, in a few words.
    :ivar offset: where, in bytes from the start of the message.
    """

    def __init__(self, kind: str, offset: int) -> None:
        self.kind = kind
        self.offset = offset
        ValueError.__init__(self, f"{kind} at byte {offset}")


class Scanner:
    """Scans one message after another of one peer.

    Results, valid once a message is done: ``kind`` (1 call, 2 reply, 3 exception, 4 oneway), ``seqid``,
    ``name`` (bytes), ``strict`` (binary: the header has a version), ``body`` and ``size`` (offsets from the
    start of the message to the struct and to the end).

    :param expansion: what a decoded message may take, as a multiple of its size, on top of ``FREE``.
    """

    def __init__(
        self, protocol: int, max_bytes: int, max_depth: int, max_elements: int, expansion: int
    ) -> None:
        if protocol not in (BINARY, COMPACT):
            raise ValueError(f"protocol: BINARY or COMPACT, not {protocol!r}")
        self.compact = protocol == COMPACT
        self.max_bytes = max_bytes
        self.max_depth = max_depth
        self.max_elements = max_elements
        self.expansion = expansion
        self.fixed = _FIXED_COMPACT if self.compact else _FIXED_BINARY
        self.least = _LEAST_COMPACT if self.compact else _LEAST_BINARY
        self.stack: list[Any] = []
        self.reset()

    def reset(self) -> None:
        """Forget the message; the next byte is the first of another."""
        self.limit = self.max_bytes
        self.base = 0
        self.phase = _HEAD
        self.skip = 0
        self.want = 0
        self.want_node: Any = None
        self.counted = False
        self.cost = 0
        self.worth = 0
        self.form = _STRUCT_FORM
        self.left = 0
        self.even = 0
        self.odd = 0
        self.fid = 0
        self.even_node: Any = None
        self.odd_node: Any = None
        self.depth = 0
        self.elements = 0
        self.number = 0
        self.carry = b""
        self.name_length = 0
        self.kind = 0
        self.seqid = 0
        self.name = b""
        self.strict = True
        self.body = 0
        self.size = 0
        if self.stack:
            self.stack = []

    def whole(self, frame: bytes, start: int, schemas: Any, worth: int = 0) -> None:
        """Scan a frame that holds exactly one message.

        :param frame: bytes.
        :param start: where in ``frame`` the message begins.
        :param schemas: see :meth:`feed`.
        :param worth: bytes that the message counts for where it is larger, having been compressed; 0: its size.
        :raises ScanError: see there; also for bytes that are missing or left over.
        """
        end = len(frame)
        self.reset()
        self.worth = worth
        self.limit = end - start
        if self.limit > self.max_bytes:
            raise ScanError("message larger than the limit", 0)
        self.base = -start
        pos = self._run(frame, start, end, schemas)
        if self.phase != _DONE:
            raise ScanError("message ends early", end - start)
        if pos != end:
            raise ScanError("bytes after the message", pos - start)

    def frame(self, data: bytes, schemas: Any) -> bool:
        """Scan ``data`` where it is exactly one frame, its four bytes of length included.

        :returns: whether it is; where not, nothing has been scanned.
        :raises ScanError: see :meth:`whole`.
        """
        end = len(data)
        if end <= 4 or self._i32(data, 0) != end - 4:
            return False
        self.whole(data, 4, schemas)
        return True

    def feed(self, piece: bytes, schemas: Any) -> int:
        """Take the next piece of a message whose length is not announced.

        :param piece: bytes; may reach into the following message.
        :param schemas: name -> struct node, for what the decoder does not check itself; or ``None``. A struct
            node maps a field id to ``(type, node)``, and ``None`` to the bytes that an object of it takes; a node is
            a struct node, ``(type, node)`` for the elements of a list or set, ``(type, node, type, node)`` for a
            map, and ``None`` for anything else. What is not in the schema costs nothing: the decoder skips it.
        :returns: how many bytes of ``piece`` belong to the message, which is then done, or -1: it goes on.
        :raises ScanError: the bytes are refused. The scanner needs a :meth:`reset` then.
        """
        if self.phase == _DONE:
            self.reset()
        kept = len(self.carry)
        if kept:
            piece = self.carry + piece
            self.carry = b""
        end = len(piece)
        pos = self._run(piece, 0, end, schemas)
        if self.phase == _DONE:
            return pos - kept
        self.base += pos
        # The total is refused as soon as it is reached, and not only once a length says so.
        if self.base + (end - pos) >= self.limit:
            raise ScanError("message larger than the limit", self.limit)
        self.carry = piece[pos:]
        return -1

    def _run(self, data: bytes, pos: int, end: int, schemas: Any) -> int:
        """Walk as far as whole primitives reach; the position after the last of them."""
        if self.phase < _BODY:
            pos = self._header(data, pos, end, schemas)
            if self.phase < _BODY:
                return pos
        while True:
            if self.skip:
                step = end - pos
                if self.skip > step:
                    self.skip -= step
                    return end
                pos += self.skip
                self.skip = 0
            if not self.want:
                if self.form == _STRUCT_FORM:
                    mark = pos
                    pos = self._field(data, pos, end)
                    if pos == mark:
                        return pos
                    if not self.want:
                        if self.phase == _DONE:
                            self._finish(self.base + pos)
                            return pos
                        continue
                else:
                    if not self.left:
                        self._pop()
                        continue
                    if self.left & 1:
                        self.want = self.odd
                        self.want_node = self.odd_node
                    else:
                        self.want = self.even
                        self.want_node = self.even_node
                    self.left -= 1
            mark = pos
            pos = self._value(data, pos, end)
            if self.want:
                return mark

    def _finish(self, size: int) -> int:
        worth = size
        if self.worth and self.worth < size:
            worth = self.worth
        if self.cost > FREE + self.expansion * worth:
            raise ScanError("more memory than Limits.expansion allows", size)
        self.size = size
        return 0

    def _header(self, data: bytes, pos: int, end: int, schemas: Any) -> int:
        """The message header, in three steps so that a short piece costs no second walk."""
        if self.phase == _HEAD:
            mark = pos
            if self.compact:
                if end - pos < 2:
                    return pos
                if data[pos] != 0x82 or data[pos + 1] & 0x1F != 1:
                    raise ScanError("bad version", self.base + pos)
                self.kind = data[pos + 1] >> 5
                pos += 2
                stop = self._varint(data, pos, end, 5)
                if stop < 0:
                    return mark
                self.seqid = self.number
                pos = stop
                stop = self._varint(data, pos, end, 5)
                if stop < 0:
                    return mark
                length = self.number
                pos = stop
            else:
                if end - pos < 4:
                    return pos
                length = self._i32(data, pos)
                if length < 0:
                    if data[pos] != 0x80 or data[pos + 1] != 1:
                        raise ScanError("bad version", self.base + pos)
                    if end - pos < 8:
                        return mark
                    self.kind = data[pos + 3]
                    length = self._i32(data, pos + 4)
                    pos += 8
                else:
                    self.strict = False
                    pos += 4
            if length < 0:
                raise ScanError("negative size", self.base + pos)
            if length > NAME_LIMIT:
                raise ScanError("method name too long", self.base + pos)
            if length > self.limit - self.base - pos:
                raise ScanError("length beyond the message", self.base + pos)
            self.name_length = length
            self.phase = _NAME
        if self.phase == _NAME:
            if end - pos < self.name_length:
                return pos
            self.name = data[pos : pos + self.name_length]
            pos += self.name_length
            self.phase = _TAIL
        if not self.compact:
            step = 4 if self.strict else 5
            if end - pos < step:
                return pos
            if not self.strict:
                self.kind = data[pos]
                pos += 1
            self.seqid = self._i32(data, pos)
            pos += 4
        if self.kind < 1 or self.kind > 4:
            raise ScanError("unknown message type", self.base + pos)
        self.body = self.base + pos
        self.phase = _BODY
        self.depth = 1
        self.form = _STRUCT_FORM
        self.fid = 0
        # An exception reply is a TApplicationException, whatever the method.
        self.even_node = None if schemas is None or self.kind == 3 else schemas.get(self.name)
        return pos

    def _field(self, data: bytes, pos: int, end: int) -> int:
        """A field header; the type of its value is then in ``want``. The end of the struct pops it.

        :returns: the position after it; unmoved where more bytes are needed.
        """
        mark = pos
        if pos >= end:
            return mark
        kind = data[pos]
        pos += 1
        if self.compact:
            low = kind & 15
            if not low:
                self._pop()
                return pos
            if kind >> 4:
                self.fid += kind >> 4
            else:
                stop = self._varint(data, pos, end, 3)
                if stop < 0:
                    return mark
                pos = stop
                self.fid = (self.number >> 1) ^ -(self.number & 1)
            kind = _CANONICAL[low]
            if kind == _BOOL:
                # The value is in the header. A decoder that skips it reads nothing either.
                return pos
        else:
            if not kind:
                self._pop()
                return pos
            if end - pos < 2:
                return mark
            self.fid = (data[pos] << 8) | data[pos + 1]
            if self.fid >= 0x8000:
                self.fid -= 0x10000
            pos += 2
        if kind > 15 or not self.least[kind]:
            raise ScanError("unknown type", self.base + mark)
        self.want = kind
        self.want_node = None
        self.counted = False
        node = self.even_node
        if node is not None:
            field = node.get(self.fid)
            if field is not None and field[0] == kind:
                self.want_node = field[1]
                self.counted = True
        return pos

    def _value(self, data: bytes, pos: int, end: int) -> int:
        """The fixed part of the value in ``want``, which stays set where more bytes are needed."""
        kind = self.want
        size = self.fixed[kind]
        if size:
            self.skip = size
            self._fits(size, pos)
            if self.counted:
                self.cost += _PRICE[kind]
        elif kind == _STRUCT:
            self._push(pos)
            node = self.want_node
            if node is not None:
                self.cost += node[None]
            self.form = _STRUCT_FORM
            self.fid = 0
            self.even_node = node
        elif kind > _STRUCT:
            return self._container(data, pos, end)
        elif kind == _STRING:
            if self.compact:
                stop = self._varint(data, pos, end, 5)
                if stop < 0:
                    return pos
                pos = stop
                length = self.number
                if length > 0x7FFFFFFF:
                    raise ScanError("negative size", self.base + pos)
            else:
                if end - pos < 4:
                    return pos
                length = self._i32(data, pos)
                pos += 4
                if length < 0:
                    raise ScanError("negative size", self.base + pos - 4)
            self._fits(length, pos)
            self.skip = length
            # CPython has the others once.
            if self.counted and length > 1:
                self.cost += _PRICE[kind]
        else:
            stop = self._varint(data, pos, end, _VARINT[kind])
            if stop < 0:
                return end
            if (kind == _I16 and self.number > 0xFFFF) or (kind == _I32 and self.number > 0xFFFFFFFF):
                raise ScanError("number out of range", self.base + pos)
            pos = stop
            # As above: of the numbers from -5 to 256.
            if self.counted and (self.number > 512 or (self.number & 1 and self.number > 9)):
                self.cost += _PRICE[kind]
        self.want = 0
        return pos

    def _container(self, data: bytes, pos: int, end: int) -> int:
        """The header of the map, list or set in ``want``."""
        kind = self.want
        node = self.want_node
        mark = pos
        if self.compact:
            if kind == _MAP:
                stop = self._varint(data, pos, end, 5)
                if stop < 0:
                    return mark
                count = self.number
                pos = stop
                even = odd = 0
                if count:
                    if pos >= end:
                        return mark
                    even = _CANONICAL[data[pos] >> 4]
                    odd = _CANONICAL[data[pos] & 15]
                    pos += 1
            else:
                if pos >= end:
                    return mark
                even = odd = _CANONICAL[data[pos] & 15]
                count = data[pos] >> 4
                pos += 1
                if count == 15:
                    stop = self._varint(data, pos, end, 5)
                    if stop < 0:
                        return mark
                    count = self.number
                    pos = stop
        elif kind == _MAP:
            if end - pos < 6:
                return mark
            even = data[pos]
            odd = data[pos + 1]
            count = self._i32(data, pos + 2)
            pos += 6
        else:
            if end - pos < 5:
                return mark
            even = odd = data[pos]
            count = self._i32(data, pos + 1)
            pos += 5
        if count < 0 or count > 0x7FFFFFFF:
            raise ScanError("negative size", self.base + mark)
        if self.depth >= self.max_depth:
            raise ScanError("nested too deep", self.base + mark)
        self.want = 0
        if node is not None:
            self.cost += _PRICE[kind]
        if not count:
            # Some writers leave the types of an empty container out.
            return pos
        if even > 15 or odd > 15 or not self.least[even] or not self.least[odd]:
            raise ScanError("unknown type", self.base + mark)
        if kind == _MAP:
            total = count * 2
            length = count * (self.least[even] + self.least[odd])
        else:
            total = count
            length = count * self.least[even]
        if length > self.limit - self.base - pos:
            raise ScanError("count beyond the message", self.base + mark)
        self.elements += total
        if self.elements > self.max_elements:
            raise ScanError("too many elements", self.base + mark)
        even_node = odd_node = None
        counted = False
        if node is not None:
            if kind == _MAP:
                # The decoder takes strings on the wire for whatever the IDL says, and reads on wrongly.
                if (even == _STRING and node[0] != _STRING) or (odd == _STRING and node[2] != _STRING):
                    raise ScanError("type is not the IDL's", self.base + mark)
                if even == node[0] and odd == node[2]:
                    counted = True
                    even_node = node[1]
                    odd_node = node[3]
                    self.cost += _MAP_TABLE + count * _ENTRY
                    if even == _STRUCT:
                        self.cost += count * count * _KEYS
            elif even == node[0]:
                counted = True
                even_node = odd_node = node[1]
                self.cost += _LIST + count * _SLOT
            elif self.compact:
                # The compact decoder does not look at the type on the wire.
                raise ScanError("type is not the IDL's", self.base + mark)
        if self.fixed[even] and self.fixed[odd]:
            self.skip = length
            if counted:
                self.cost += count * _PRICE[even]
                if kind == _MAP:
                    self.cost += count * _PRICE[odd]
            return pos
        self._push(mark)
        self.counted = counted
        self.form = _SEQUENCE_FORM
        self.left = total
        self.even = even
        self.odd = odd
        self.even_node = even_node
        self.odd_node = odd_node
        return pos

    def _fits(self, length: int, pos: int) -> int:
        if length > self.limit - self.base - pos:
            raise ScanError("length beyond the message", self.base + pos)
        return 0

    def _push(self, pos: int) -> int:
        if self.depth >= self.max_depth:
            raise ScanError("nested too deep", self.base + pos)
        self.depth += 1
        self.stack.append(
            (self.form, self.left, self.even, self.odd, self.fid, self.even_node, self.odd_node, self.counted)
        )
        return 0

    def _pop(self) -> int:
        self.depth -= 1
        if not self.depth:
            self.phase = _DONE
            return 0
        (
            self.form,
            self.left,
            self.even,
            self.odd,
            self.fid,
            self.even_node,
            self.odd_node,
            self.counted,
        ) = self.stack.pop()
        return 0

    def _i32(self, data: bytes, pos: int) -> int:
        high = data[pos]
        number = (high << 24) | (data[pos + 1] << 16) | (data[pos + 2] << 8) | data[pos + 3]
        return number - 0x100000000 if high >= 0x80 else number

    def _varint(self, data: bytes, pos: int, end: int, most: int) -> int:
        """Put an unsigned varint into ``number``; the position after it, or -1: it goes on after ``end``."""
        number = 0
        shift = 0
        while pos < end:
            byte = data[pos]
            pos += 1
            if shift < 63:
                number |= (byte & 0x7F) << shift
            elif byte == 1:
                number |= byte << 63
            elif byte and byte < 0x80:
                raise ScanError("number out of range", self.base + pos)
            if byte < 0x80:
                self.number = number
                return pos
            shift += 7
            if shift >= most * 7:
                raise ScanError("number too long", self.base + pos)
        return -1
