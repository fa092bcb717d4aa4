"""How the scenario looks in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.tree import Tree

from ..parts import bar
from .services import COLORS, STARS
from .spans import Trace

if TYPE_CHECKING:
    from .scenario import Result

ENTRANCE = "    productpage "
INDENT = " " * len(ENTRANCE)
CHAIN, SHOWN = 24, 11


class Report:
    """Prints each result as it comes: the chain of versions of each lane, with its share of the requests."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._step = ""

    def __call__(self, result: Result | Trace) -> None:
        """Print one block, or the trace."""
        if isinstance(result, Trace):
            self._trace(result)
        else:
            self._block(result)

    def _block(self, result: Result) -> None:
        if self._step != result.step.title:
            self._step = result.step.title
            self._print(f"[bold]{self._step}[/] [dim]({result.step.rules})[/]")
        verdict = "[green]ok[/]" if result.passed else f"[red]off[/] {'; '.join(result.failures[:1])}"
        self._print(f"  {result.block.title} {verdict}")
        chains = sorted(set(result.block.expected) | set(result.seen))
        self._print(f"{ENTRANCE}─┬─ details v1")
        for number, chain in enumerate(chains):
            share = result.seen.get(chain, 0) / max(result.calls, 1)
            wanted = result.block.expected.get(chain, 0.0)
            corner = "└" if number == len(chains) - 1 else "├"
            counted = f"{share:6.1%} of {wanted:4.0%}  {bar([share])}"
            self._print(f"{INDENT} {corner}─ {drawn(chain):{CHAIN}}  {stars(chain)}  {counted}")

    def _trace(self, trace: Trace) -> None:
        sent = ", ".join(f"{name}: {value}" for name, value in trace.headers.items())
        verdict = "[green]ok[/]" if trace.passed else f"[red]off[/] {'; '.join(trace.failures[:1])}"
        self._print(f"[bold]one traced request ({sent}) is one tree of spans[/] {verdict}")
        tree = Tree(f"trace {trace.parent.trace}")
        self._grow(tree, trace, trace.roots())
        self._console.print(tree)

    def _grow(self, tree: Tree, trace: Trace, spans: list[Mapping[str, Any]]) -> None:
        for span in spans:
            milliseconds = (span["end"] - span["start"]) / 1e6
            who = f"[cyan]{span['service']} {span['version']}[/]"
            branch = tree.add(f"{span['name']}  {span['kind']} {who}  {milliseconds:.2f} ms")
            self._grow(branch, trace, trace.children(span["span"]))

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


def drawn(chain: str) -> str:
    """``reviews-v1 ratings-v1`` as a path."""
    return " ── ".join(hop.replace("-", " ") for hop in chain.split())


def stars(chain: str) -> str:
    """What the page shows of a chain, in the colour that it shows it in."""
    versions = dict(hop.split("-") for hop in chain.split())
    if "ratings" not in versions:
        return f"[dim]{'no stars':{SHOWN}}[/]"
    color = COLORS[versions["reviews"]]
    shown = f"{'★' * STARS[versions['ratings']]:5} {color}".ljust(SHOWN)
    return f"[red]{shown}[/]" if color == "red" else shown
