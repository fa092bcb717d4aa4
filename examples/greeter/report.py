"""How the scenario looks in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from ..parts import bar

if TYPE_CHECKING:
    from .scenario import Result


class Report:
    """Prints each result as it comes: what was seen of what was expected, and a bar of the shares."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._step = ""

    def __call__(self, result: Result) -> None:
        """Print one row."""
        if self._step != result.step.title:
            self._step = result.step.title
            self._console.print(f"[bold]{self._step}[/]")
        versions = sorted(set(result.block.expected) | set(result.seen))
        shares = [(version, result.seen.get(version, 0) / result.calls) for version in versions]
        numbers = "  ".join(
            f"{version.partition('.')[0]} {share:6.1%} of {result.block.expected.get(version, 0):4.0%}"
            for version, share in shares
        )
        who = result.block.label if result.block.attachments else ""
        verdict = "[green]ok[/]" if result.passed else f"[red]off[/] {'; '.join(result.failures[:1])}"
        drawn = bar([share for _, share in shares])
        self._console.print(f"  {result.protocol:7} {who:12} {drawn}  {numbers:36} {verdict}")
