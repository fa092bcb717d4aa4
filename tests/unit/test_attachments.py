"""Attachments: context-bound, validated where they are set."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pyrpc_xds.attachments import attachments, current_attachments
from pyrpc_xds.errors import UsageError


def test_names_are_lower_cased_and_the_block_ends_them() -> None:
    with attachments({"User": "admin"}):
        assert current_attachments() == {"user": "admin"}
    assert current_attachments() == {}


def test_inner_blocks_add_and_override() -> None:
    with attachments({"user": "admin", "lane": "a"}), attachments({"USER": "joe"}):
        assert current_attachments() == {"user": "joe", "lane": "a"}


def test_an_error_in_the_block_ends_them_too() -> None:
    with pytest.raises(ZeroDivisionError), attachments({"user": "admin"}):
        raise ZeroDivisionError
    assert current_attachments() == {}


def test_other_threads_do_not_see_them() -> None:
    seen: list[dict[str, str]] = []
    with attachments({"user": "admin"}):
        thread = threading.Thread(target=lambda: seen.append(dict(current_attachments())))
        thread.start()
        thread.join()
    assert seen == [{}]


async def test_each_task_has_its_own_and_inherits_those_of_its_creator() -> None:
    async def work(user: str) -> dict[str, str]:
        with attachments({"user": user}):
            await asyncio.sleep(0)
            return dict(current_attachments())

    with attachments({"lane": "dev"}):
        results = await asyncio.gather(work("a"), work("b"))
    assert results == [{"lane": "dev", "user": "a"}, {"lane": "dev", "user": "b"}]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("", "x", "cannot travel"),
        ("a b", "x", "cannot travel"),
        ("a:b", "x", "cannot travel"),
        (":path", "x", "cannot travel"),
        ("grpc-status", "0", "not starting with grpc-"),
        ("Grpc-Timeout", "1S", "not starting with grpc-"),
        ("näme", "x", "cannot travel"),
        ("name\n", "x", "cannot travel"),
        ("user", "a\r\nx: y", "printable ASCII"),
        ("user", "a\0", "printable ASCII"),
        ("user", "ü", "quote"),
        ("user", 1, "str"),
        (1, "x", "str"),
    ],
)
def test_what_cannot_travel_as_a_header_is_refused_where_it_is_set(
    name: object, value: object, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason), attachments({name: value}):  # type: ignore[dict-item]
        pass
