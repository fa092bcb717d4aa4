"""frozen: what dataclass(frozen=True, slots=True) makes, made at less expense."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import pytest

from pyrpc_xds.frozen import frozen


@frozen
class Ours:
    """A class."""

    name: str
    weight: int = 1
    tags: dict[str, str] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Theirs:
    """A class."""

    name: str
    weight: int = 1
    tags: dict[str, str] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = field(default=(), compare=False)


@frozen
class Single:
    """One field."""

    only: str


@frozen
class Empty:
    """No field."""


ARGUMENTS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("a",), {}),
    (("a", 2), {"notes": ("n",)}),
    (("a", 2, {"k": "v"}, ("n",)), {}),
    ((), {"weight": 3, "name": "b"}),
]


@pytest.mark.parametrize(("args", "named"), ARGUMENTS)
def test_object_has_the_values_and_the_text_of_a_dataclass(
    args: tuple[Any, ...], named: dict[str, Any]
) -> None:
    ours, theirs = Ours(*args, **named), Theirs(*args, **named)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert hash(ours) == hash(theirs)


def test_class_says_of_itself_what_a_dataclass_does() -> None:
    assert inspect.signature(Ours).parameters.keys() == inspect.signature(Theirs).parameters.keys()
    assert Ours.__match_args__ == Theirs.__match_args__
    assert Ours.__slots__ == Theirs.__slots__  # type: ignore[attr-defined]
    assert Ours.__init__.__annotations__ == Theirs.__init__.__annotations__
    assert not hasattr(Ours("a"), "__dict__")


def test_text_of_its_own_stays() -> None:
    @frozen
    class Named:
        name: str

        def __repr__(self) -> str:
            return self.name

    assert repr(Named("a")) == "a"


@pytest.mark.parametrize("wrong", [{}, {"name": "a", "other": 1}])
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"Ours\.__init__\(\)"):
        Ours(**wrong)


def test_what_is_not_compared_makes_no_difference() -> None:
    assert Ours("a", notes=("n",)) == Ours("a")
    assert hash(Ours("a", notes=("n",))) == hash(Ours("a"))
    assert Ours("a") != Ours("b")
    assert Ours("a", tags={"k": "v"}) != Ours("a")
    assert hash(Ours("a", tags={"k": "v"})) == hash(Ours("a"))


def test_objects_of_two_classes_are_never_equal() -> None:
    assert Ours("a") != Theirs("a")  # type: ignore[comparison-overlap]
    assert Single("a") != "a"  # type: ignore[comparison-overlap]
    assert Empty() == Empty()
    assert Empty() != Single("a")  # type: ignore[comparison-overlap]
    assert len({Empty(), Empty(), Single("a"), Single("a")}) == 2


def test_each_object_has_a_default_of_its_own() -> None:
    assert Ours("a").tags is not Ours("a").tags


def test_object_cannot_be_changed() -> None:
    made = Single("a")
    with pytest.raises(FrozenInstanceError, match="only"):
        made.only = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="other"):
        made.other = "b"  # type: ignore[attr-defined]
    with pytest.raises(FrozenInstanceError, match="only"):
        del made.only
    assert made == Single("a")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_copies_are_equal_and_whole(copied: Any) -> None:
    made = Ours("a", 2, {"k": "v"}, ("n",))
    assert copied(made) == made
    assert copied(made).notes == ("n",)


def test_dataclasses_replace_makes_another_version() -> None:
    made = dataclasses.replace(Ours("a", 2), name="b")
    assert made == Ours("b", 2)


def test_patterns_match_by_position() -> None:
    match Ours("a", 2):
        case Ours(name, weight):
            assert (name, weight) == ("a", 2)
        case _:
            pytest.fail("no match")
