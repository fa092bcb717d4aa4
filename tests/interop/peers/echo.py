"""idl/echo.thrift for the interop tests: values of every kind, exact comparison, and a Python implementation.

``exact`` gives a value's canonical JSON text, in which values of equal text are the same value, bit by bit: NaN,
-0.0, str against bytes, absent against empty. Go's side prints the same form (tests/interop/kitex/render.go).
"""

from __future__ import annotations

import json
import random
import struct
import threading
import time
from pathlib import Path
from typing import Any

import thriftpy2
from thriftpy2.thrift import TType
from thriftpy2.utils import serialize

idl = thriftpy2.load(
    str(Path(__file__).resolve().parents[3] / "idl" / "echo.thrift"), module_name="interop_echo_thrift"
)
base = idl.base

# A type is thriftpy2's: its number, and for containers and structs what they are made of.
Type = tuple[int, Any]


def fields(cls: Any) -> dict[str, Type]:
    """The fields of a struct by name."""
    return {field[1]: (field[0], field[2] if len(field) > 3 else None) for field in cls.thrift_spec.values()}


def inner(spec: Any) -> Type:
    """The type of elements, keys or values."""
    return spec if isinstance(spec, tuple) else (spec, None)


def args_class(method: str) -> Any:
    """thriftpy2's struct of a method's arguments."""
    return getattr(idl.Echo, f"{method}_args")


def result_class(method: str) -> Any:
    """thriftpy2's struct of a method's result."""
    return getattr(idl.Echo, f"{method}_result")


def to_binary(value: Any) -> bytes:
    """A struct in the binary protocol, without a message around it."""
    data: bytes = serialize(value)
    return data


# -- canonical JSON --------------------------------------------------------------------------------------------


def to_json(kind: Type, value: Any) -> Any:
    """The canonical form; see tests/interop/kitex/render.go. Sets, and maps as pairs, are in order of their text."""
    number, spec = kind
    if number == TType.BOOL:
        assert isinstance(value, bool), value
        return value
    if number in (TType.BYTE, TType.I16, TType.I32, TType.I64):
        assert isinstance(value, int) and not isinstance(value, bool), value
        return int(value)
    if number == TType.DOUBLE:
        return f"d:{struct.pack('>d', value).hex()}"
    if number == TType.STRING:
        return f"s:{value}" if isinstance(value, str) else f"x:{value.hex()}"
    if number == TType.BINARY:
        assert isinstance(value, bytes), value
        return f"b:{value.hex()}"
    if number == TType.LIST:
        return [to_json(inner(spec), each) for each in value]
    if number == TType.SET:
        return sorted((to_json(inner(spec), each) for each in value), key=json.dumps)
    if number == TType.MAP:
        key, item = inner(spec[0]), inner(spec[1])
        return sorted(([to_json(key, k), to_json(item, v)] for k, v in value.items()), key=json.dumps)
    assert number == TType.STRUCT, number
    return {
        name: to_json(field, getattr(value, name))
        for name, field in fields(spec).items()
        if getattr(value, name) is not None
    }


def from_json(kind: Type, data: Any) -> Any:
    """The value of a canonical form. Raises AssertionError where it is of another type."""
    number, spec = kind
    if number == TType.BOOL:
        assert isinstance(data, bool), data
        return data
    if number in (TType.BYTE, TType.I16, TType.I32, TType.I64):
        assert isinstance(data, int) and not isinstance(data, bool), data
        return data
    if number in (TType.DOUBLE, TType.STRING, TType.BINARY):
        prefix, text = data[:2], data[2:]
        if number == TType.STRING and prefix == "s:":
            return text
        assert prefix == {TType.DOUBLE: "d:", TType.STRING: "x:", TType.BINARY: "b:"}[number], data
        return struct.unpack(">d", bytes.fromhex(text))[0] if number == TType.DOUBLE else bytes.fromhex(text)
    if number == TType.LIST:
        return [from_json(inner(spec), each) for each in data]
    if number == TType.SET:
        return {from_json(inner(spec), each) for each in data}
    if number == TType.MAP:
        return {from_json(inner(spec[0]), key): from_json(inner(spec[1]), value) for key, value in data}
    assert number == TType.STRUCT, number
    return struct_from_json(spec, data)


def struct_from_json(cls: Any, data: dict[str, Any]) -> Any:
    """A struct of its canonical form; fields that are not in it are None, defaults or not."""
    types = fields(cls)
    value = cls()
    for name in types:
        setattr(value, name, None)
    for name, each in data.items():
        setattr(value, name, from_json(types[name], each))
    return value


def exact(cls: Any, value: Any) -> str:
    """The canonical text of a struct."""
    return json.dumps(to_json((TType.STRUCT, cls), value), sort_keys=True)


def exact_result(method: str, value: Any) -> str:
    """The canonical text of what a method returns."""
    return json.dumps(to_json(fields(result_class(method))["success"], value), sort_keys=True)


# -- values ----------------------------------------------------------------------------------------------------

DOUBLES = [
    *(0.0, -0.0, 1.0, -1.5, 0.1, float("inf"), float("-inf"), float("nan")),
    *(5e-324, -5e-324, 2.225073858507201e-308, 2.2250738585072014e-308, 1.7976931348623157e308, 2.0**53 + 2),
]
LONGS = [0, 1, -1, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63)]
TEXTS = ["", "plain", "nul \0 within", "é ü ß", "中文", "😀 \U0010ffff", "\ufeff\uffff\u2028", "x" * 70_000]
BLOBS = [b"", bytes(range(256)), b"\0", b"\x80\x01\0\x01", b"\xff" * 70_000]


def scalars(seed: int = 0) -> Any:
    """A struct with every field set to an edge value, a different one for each seed."""
    return idl.Scalars(
        truth=seed % 2 == 0,
        octet=(127, -128, 0)[seed % 3],
        small=(32767, -32768, 0)[seed % 3],
        middle=(2**31 - 1, -(2**31), 0)[seed % 3],
        large=LONGS[seed % len(LONGS)],
        real=DOUBLES[seed % len(DOUBLES)],
        text=TEXTS[seed % 7],
        blob=BLOBS[seed % 4],
        color=(base.Color.RED, base.Color.FAR, 5)[seed % 3],
        id=LONGS[-1 - seed % len(LONGS)],
    )


def containers() -> Any:
    """Every container with something in it."""
    return idl.Containers(
        numbers=[0, 1, -1, 2**31 - 1, -(2**31)],
        unique=set(LONGS),
        counts={"": 0, "é": 2**63 - 1, "x" * 300: -1},
        table=[[], ["a"], ["b", ""], ["中文", "😀"]],
        groups={"none": [], "two": [scalars(1), scalars(2)]},
        tags={-1: base.Tag(key="k", value="v"), 2**31 - 1: base.Tag(key="", value=None)},
        series=[{}, {1: 0.5, -1: -0.0}, {2**63 - 1: float("inf")}],
        shades={base.Color.RED: {"dark", "light"}, base.Color.FAR: set()},
        blobs=list(BLOBS[:4]),
        nested={"empty": {}, "full": {"all": bytes(range(256)), "": b""}},
        flags=[True, False, True],
        octets=[-128, -1, 0, 127],
        colors={base.Color.GREEN, base.Color.FAR},
        words={"k": "v", "": "", "é": "中文"},
        votes={True: 1, False: -32768},
    )


def empty_containers() -> Any:
    """Every container there and empty."""
    kinds = {TType.LIST: list, TType.SET: set, TType.MAP: dict}
    return idl.Containers(**{name: kinds[kind]() for name, (kind, _) in fields(idl.Containers).items()})


def presence(**changes: Any) -> Any:
    """All that has to be there, and what changes."""
    return idl.Presence(**{"needed": 1, "plain": 2, "text": "t", **changes})


def tree(depth: int) -> Any:
    """A tree of two branches at each level; ``leaves`` is absent at the last."""
    return idl.Tree(value=depth, leaves=[tree(depth - 1), tree(depth - 1)] if depth else None)


def chain(depth: int) -> Any:
    """A tree of one branch at each level."""
    top = idl.Tree(value=0)
    for value in range(1, depth):
        top = idl.Tree(value=value, leaves=[top])
    return top


SHAPES = [
    idl.Shape(circle=2**63 - 1),
    idl.Shape(circle=0),
    idl.Shape(label=""),
    idl.Shape(tag=base.Tag(key="k")),
    idl.Shape(group=[]),
    idl.Shape(group=[idl.Shape(circle=-1), idl.Shape(group=[idl.Shape(label="deep")])]),
    idl.Shape(raw=bytes(range(256))),
]


def everything() -> Any:
    """All structs in one."""
    return idl.Everything(
        scalars=scalars(7),
        containers=containers(),
        shape=SHAPES[5],
        presence=presence(maybe=0, listed=[], tag=base.Tag(key="k", value="")),
        tree=tree(3),
    )


# For each method that answers with its argument: what to send, and what must come back bit by bit.
ECHOES: dict[str, list[Any]] = {
    "ping": TEXTS,
    "tag": [base.Tag(key=""), base.Tag(key="k", value=""), base.Tag(key="k", value="v")],
    "echoBool": [True, False],
    "echoByte": [0, 1, -1, 127, -128],
    "echoI16": [0, 1, -1, 32767, -32768],
    "echoI32": [0, 1, -1, 2**31 - 1, -(2**31)],
    "echoI64": LONGS,
    "echoDouble": DOUBLES,
    "echoString": TEXTS,
    "echoBinary": BLOBS,
    "echoColor": [base.Color.RED, base.Color.GREEN, base.Color.FAR, 5],
    "echoId": LONGS,
    "echoList": [[], [""], TEXTS],
    "echoSet": [set(), {0}, set(range(-500, 500))],
    "echoMap": [{}, {key: base.Tag(key=str(key), value="v") for key in LONGS}],
    "echoScalars": [scalars(seed) for seed in range(len(DOUBLES))],
    "echoContainers": [containers(), empty_containers()],
    "echoShape": SHAPES,
    "echoPresence": [
        presence(),
        presence(needed=0, plain=0, maybe=0, named="", counted=0, text="", listed=[], highest=0),
        presence(maybe=-1, named="n", counted=2**63 - 1, listed=["a"], tag=base.Tag(key="k"), highest=-1),
    ],
    "echoTree": [tree(0), tree(6)],
    "echoEverything": [everything()],
}


# thriftpy2 forgets which fields are optional.
_OPTIONAL = {"Tag": ("value",), "Presence": ("maybe", "listed", "tag"), "Tree": ("leaves",)}


def random_value(kind: Type, rng: random.Random, depth: int = 0) -> Any:
    """A value of a type, of random size and content; optional fields of structs are there or not."""
    number, spec = kind
    bits = {TType.BYTE: 8, TType.I16: 16, TType.I32: 32, TType.I64: 64}.get(number)
    if bits:
        return rng.getrandbits(rng.randint(1, bits - 1)) * rng.choice((1, -1))
    if number == TType.BOOL:
        return rng.random() < 0.5
    if number == TType.DOUBLE:
        return struct.unpack(">d", rng.randbytes(8))[0]
    if number == TType.STRING:
        return "".join(chr(rng.choice((65, 0x7F, 0xE9, 0x4E2D, 0x1F600))) for _ in range(rng.randint(0, 9)))
    if number == TType.BINARY:
        return rng.randbytes(rng.randint(0, 20))
    size = rng.randint(0, 4) if depth < 5 else 0
    if number == TType.LIST:
        return [random_value(inner(spec), rng, depth + 1) for _ in range(size)]
    if number == TType.SET:
        return {random_value(inner(spec), rng, depth + 1) for _ in range(size)}
    if number == TType.MAP:
        key, value = inner(spec[0]), inner(spec[1])
        return {random_value(key, rng, depth + 1): random_value(value, rng, depth + 1) for _ in range(size)}
    types = fields(spec)
    if spec is idl.Shape:
        name = rng.choice(list(types))
        return idl.Shape(**{name: random_value(types[name], rng, depth + 1)})
    optional = _OPTIONAL.get(spec.__name__, ())
    return spec(
        **{
            name: random_value(field, rng, depth + 1)
            for name, field in types.items()
            if name not in optional or (size and rng.random() < 0.5)
        }
    )


def random_everything(seed: int) -> Any:
    """A random value of all structs, the same for the same seed."""
    return random_value((TType.STRUCT, idl.Everything), random.Random(seed))


# -- an implementation -----------------------------------------------------------------------------------------


class EchoHandler:
    """The service in Python, for our servers; what each method is for is in the IDL."""

    def __init__(self) -> None:
        self.fires: list[str] = []
        self.got_fire = threading.Event()
        self.sleeping = threading.Event()

    def ping(self, text: str) -> str:
        return text

    def tag(self, tag: Any) -> Any:
        if tag.key == "refuse":
            raise base.Refused(why=tag.value, code=1)
        return tag

    def describe(self, value: Any) -> str:
        return exact(idl.Everything, value)

    def nothing(self) -> None:
        return None

    def subtract(self, left: int, right: int) -> int:
        return left - right

    def fail(self, how: str, text: str) -> str:
        if how == "refused":
            raise base.Refused(why=text, code=-7)
        if how == "overloaded":
            raise idl.Overloaded(limit=2**40, detail=text.encode())
        return text

    def check(self, good: bool) -> None:
        if not good:
            raise base.Refused(why="not good", code=2)

    def undeclared(self, text: str) -> str:
        raise ValueError(f"undeclared {text}")

    def panics(self, text: str) -> str:
        raise SystemExit(f"panic {text}")

    def sleep(self, milliseconds: int) -> str:
        self.sleeping.set()
        time.sleep(milliseconds / 1000)
        return "slept"

    def fire(self, text: str) -> None:
        self.fires.append(text)
        self.got_fire.set()

    def fired(self) -> list[str]:
        fires, self.fires = self.fires, []
        return fires

    # About what travels besides the call, which is for those who ask for it.

    def seen(self) -> Any:
        raise NotImplementedError

    def back(self, backward: dict[str, str], how: str) -> str:
        raise NotImplementedError

    def biz(self, status: int, message: str, extra: dict[str, str]) -> str:
        raise NotImplementedError


def _echo(self: EchoHandler, value: Any) -> Any:
    return value


for _name in ECHOES:
    if _name.startswith("echo"):
        setattr(EchoHandler, _name, _echo)
