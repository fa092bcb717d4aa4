"""The route matcher: virtual host by domain, route by path and headers.

A leaf: it imports nothing of the package, so that this file is at once the reference that runs uncompiled and
the source of the compiled module (``_matcher.pxd`` beside it gives the C types). It is given tests and opaque
destinations; it knows neither xDS nor clusters.

How the first matching route is found without looking at every route:

* A path has a *plan*: the buckets whose path condition it meets. Exact paths are hashed, prefixes are sorted
  (a binary search and parent links find all of them), and a program remembers the plans of the paths that it
  has seen.
* A bucket holds the routes of one path condition. Those that want a header to equal a value are hashed by
  that value, so that a thousand routes on ``/`` that differ in a header cost one look-up.
* Each bucket yields its first match, never looking past the best one so far; the smallest index wins, which
  is what going through all routes in order would have found.
* Routes with a regular expression wait until all others are decided; then those that stand before the best
  match are tried in order. A plan remembers which regular expressions its path has met and failed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# The kinds of StringTest: C integers in the compiled module, where only KINDS can be imported.
EXACT = 0
PREFIX = 1
SUFFIX = 2
CONTAINS = 3
REGEX = 4
SEPARATED_PREFIX = 5
GLOB = 6
KINDS = {
    "exact": 0,
    "prefix": 1,
    "suffix": 2,
    "contains": 3,
    "regex": 4,
    "separated_prefix": 5,
    "glob": 6,
}

# Verdicts of a path's regular expressions; 0: not tried.
MET = 1
FAILED = 2

MILLION = 1_000_000
# Greater than the index of any route.
NO_MATCH = 0x7FFFFFFF
# Plans remembered by a program, and the longest path (characters) that is worth it: peers may choose paths.
MAX_PLANS = 1024
MAX_PLANNED_PATH = 512

LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def fold(text: str) -> str:
    """``text`` with ASCII letters in lower case, nothing else changed: Envoy ignores case in ASCII only."""
    return text.lower() if text.isascii() else text.translate(LOWER)


class StringTest:
    """One way to compare a string.

    :param kind: a key of ``KINDS``. ``separated_prefix`` is the value, or the value followed by ``/`` and
        anything; ``glob`` is literals with anything between them.
    :param value: what to compare with; for ``glob`` see ``parts``; for ``regex`` the pattern, for texts only.
    :param ignore_case: in ASCII; not for ``regex`` and ``glob``.
    :param regex: for ``regex``: whether the whole string matches.
    :param parts: for ``glob``: at least two literals; the first begins the string and the last ends it.
    :param one_line: a string with a line feed does not match: the dot of RE2 does not match one.
    """

    def __init__(
        self,
        kind: str,
        value: str,
        ignore_case: bool = False,
        regex: Callable[[str], bool] | None = None,
        parts: tuple[str, ...] = (),
        one_line: bool = False,
    ) -> None:
        self.kind = KINDS[kind]
        if self.kind == REGEX and regex is None:
            raise ValueError("a regex test needs the function that matches")
        if self.kind == GLOB and len(parts) < 2:
            raise ValueError("a glob needs two parts or more")
        self.ignore_case = ignore_case
        self.value = fold(value) if ignore_case else value
        self.regex = regex
        self.parts = parts
        self.one_line = one_line

    def holds(self, text: str) -> bool:
        """Whether ``text`` passes."""
        if self.one_line and "\n" in text:
            return False
        if self.ignore_case:
            text = fold(text)
        if self.kind == EXACT:
            return text == self.value
        if self.kind == PREFIX:
            return text.startswith(self.value)
        if self.kind == SUFFIX:
            return text.endswith(self.value)
        if self.kind == CONTAINS:
            return self.value in text
        if self.kind == SEPARATED_PREFIX:
            return text.startswith(self.value) and (
                len(text) == len(self.value) or text[len(self.value)] == "/"
            )
        if self.kind == GLOB:
            return self.globs(text)
        return bool(self.regex(text))  # type: ignore[misc]

    def globs(self, text: str) -> bool:
        """The case ``glob``. Taking each part where it first occurs decides, so nothing is ever tried
        twice.
        """
        first = self.parts[0]
        last = self.parts[-1]
        end = len(text) - len(last)
        at = len(first)
        if end < at or not text.startswith(first) or not text.endswith(last):
            return False
        for part in self.parts[1:-1]:
            at = text.find(part, at, end)
            if at < 0:
                return False
            at = at + len(part)
        return True


class Test:
    """One condition of a route."""

    __test__ = False  # for pytest: not a test case

    def holds(self, path: str, headers: dict[str, str]) -> bool:
        """Whether a call meets it.

        :param headers: lower-case names.
        """
        raise NotImplementedError

    def costly(self) -> bool:
        """Whether it runs a regular expression."""
        return False

    def guard(self) -> tuple[str, str] | None:
        """The header, and the only value of it that passes, where the condition is of that kind."""
        return None


class PathTest(Test):
    """The path passes a string test."""

    def __init__(self, test: StringTest) -> None:
        self.test = test

    def holds(self, path: str, headers: dict[str, str]) -> bool:
        """See :class:`Test`."""
        return self.test.holds(path)

    def costly(self) -> bool:
        """See :class:`Test`."""
        return self.test.kind == REGEX


class HeaderTest(Test):
    """A header's value passes a string test.

    A missing header passes nothing, inverted or not (gRFC A41). A ``-bin`` header counts as missing (gRFC
    A28).

    :param name: in lower case.
    :param test: ``None`` in subclasses.
    :param invert: the value must fail the test.
    :param default: the value of a missing header; ``None``: it stays missing.
    """

    def __init__(
        self, name: str, test: StringTest | None, invert: bool = False, default: str | None = None
    ) -> None:
        self.name = name
        self.test = test
        self.invert = invert
        self.default = default
        self.binary = name.endswith("-bin")

    def value(self, headers: dict[str, str]) -> str | None:
        """What the test sees of the call."""
        return self.default if self.binary else headers.get(self.name, self.default)

    def holds(self, path: str, headers: dict[str, str]) -> bool:
        """See :class:`Test`."""
        value = self.value(headers)
        if value is None:
            return False
        return self.accepts(value) != self.invert

    def accepts(self, value: str) -> bool:
        """Whether the value of a header that is there passes, before inversion."""
        test = self.test
        return test is not None and test.holds(value)

    def costly(self) -> bool:
        """See :class:`Test`."""
        return self.test is not None and self.test.kind == REGEX

    def guard(self) -> tuple[str, str] | None:
        """See :class:`Test`."""
        test = self.test
        if test is None or test.kind != EXACT or test.ignore_case or self.invert or self.binary:
            return None
        return (self.name, test.value) if self.default is None else None


class PresentTest(HeaderTest):
    """A header is there, or (``present`` false) is not. With a default it always is, as in Envoy."""

    def __init__(
        self, name: str, present: bool = True, invert: bool = False, default: str | None = None
    ) -> None:
        HeaderTest.__init__(self, name, None, invert, default)
        self.present = present

    def holds(self, path: str, headers: dict[str, str]) -> bool:
        """See :class:`Test`."""
        return ((self.value(headers) is not None) == self.present) != self.invert


class RangeTest(HeaderTest):
    """A header is a decimal integer in [start, end)."""

    def __init__(
        self, name: str, start: int, end: int, invert: bool = False, default: str | None = None
    ) -> None:
        HeaderTest.__init__(self, name, None, invert, default)
        self.start = start
        self.end = end

    def accepts(self, value: str) -> bool:
        """See :class:`HeaderTest`."""
        number = integer(value)
        return number is not None and self.start <= number < self.end


def integer(text: str) -> int | None:
    """The number that ``text`` spells in decimal, or ``None``; also ``None`` beyond 19 digits (64 bits).

    As Envoy: one sign, leading zeros and surrounding white space are accepted. The digits are counted before
    they are converted, because converting takes quadratic time and a peer wrote them.
    """
    text = text.strip(" \t\n\v\f\r")
    negative = text.startswith("-")
    digits = text[1:] if negative or text.startswith("+") else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    digits = digits.lstrip("0")
    if len(digits) > 19:
        return None
    number = int(digits or "0")
    return -number if negative else number


class FractionTest(Test):
    """Passes ``numerator`` of a million calls, drawn anew for each call: 0 passes none, a million all.

    :param rng: has ``below(bound)``, uniform in [0, bound).
    """

    def __init__(self, numerator: int, rng: Any) -> None:
        self.numerator = numerator
        self.rng = rng

    def holds(self, path: str, headers: dict[str, str]) -> bool:
        """See :class:`Test`."""
        return self.rng.below(MILLION) < self.numerator  # type: ignore[no-any-return]


class RouteEntry:
    """One route: its conditions, and where it sends a call.

    :param path: the path condition.
    :param tests: every further condition.
    :param destination: returned by :meth:`RouteProgram.match`; ``None``: calls are refused.
    :param picker: chooses the destination of each call where there are several.
    :ivar index: the place in its program; an entry belongs to one program.
    """

    def __init__(
        self, path: PathTest, tests: tuple[Test, ...] = (), destination: object = None, picker: Any = None
    ) -> None:
        self.path = path
        self.tests = tuple(tests)
        self.destination = destination
        self.picker = picker
        self.index = 0


class Candidate:
    """A route in a bucket, with the conditions that being in the bucket does not imply.

    They are tried in the order ``checks``, ``regex``, ``later``: cheap ones, the path's regular expression,
    the headers' ones. The draw comes last of all: a route takes part in its fraction only if all else holds.
    What a call needs of the entry is copied, so that it touches one object less.
    """

    def __init__(self, entry: RouteEntry, checks: list[Test]) -> None:
        self.path = entry.path
        self.index = entry.index
        self.destination = entry.destination
        self.picker = entry.picker
        costly = [test for test in checks if test.costly()]
        draws = [test for test in checks if isinstance(test, FractionTest)]
        self.regex = entry.path if entry.path.costly() else None
        later = [test for test in costly if test is not entry.path] + draws
        self.checks = tuple([test for test in checks if test not in costly and test not in draws])
        self.later = tuple(later)

    def holds(self, path: str, headers: dict[str, str]) -> bool:
        """Whether a call that found the bucket meets the rest."""
        if not all_hold(self.checks, path, headers):
            return False
        if self.regex is not None and not self.regex.holds(path, headers):
            return False
        return all_hold(self.later, path, headers)


def all_hold(tests: tuple[Test, ...], path: str, headers: dict[str, str]) -> bool:
    """Whether a call meets every one of ``tests``."""
    for test in tests:
        if not test.holds(path, headers):
            return False
    return True


def first_of(
    candidates: tuple[Candidate, ...], path: str, headers: dict[str, str], bound: int
) -> Candidate | None:
    """The first of ``candidates`` (in order) that holds and has an index under ``bound``."""
    for candidate in candidates:
        if candidate.index >= bound:
            return None
        if candidate.holds(path, headers):
            return candidate
    return None


def append_under(candidates: tuple[Candidate, ...], bound: int, into: list[Candidate]) -> None:
    """Append the candidates (in order) that have an index under ``bound``."""
    for candidate in candidates:
        if candidate.index >= bound:
            return
        into.append(candidate)


class Guard:
    """The routes of a bucket that want header ``name`` to equal something, by that value.

    Where there is one value only, which is common, it is kept beside its routes: that touches less memory
    than a dict. Memory is what a table of a thousand routes is slowed down by.
    """

    def __init__(self, name: str, head: int) -> None:
        self.name = name
        self.head = head
        self.table: dict[str, Any] = {}
        self.single = False
        self.value = ""
        self.candidates: tuple[Candidate, ...] = ()

    def add(self, value: str, candidate: Candidate) -> None:
        """Take a route in, in route order."""
        self.table.setdefault(value, []).append(candidate)

    def seal(self) -> None:
        """Make it ready for :meth:`find`."""
        self.table = {value: tuple(candidates) for value, candidates in self.table.items()}
        if len(self.table) == 1:
            self.single = True
            ((self.value, self.candidates),) = self.table.items()

    def find(self, value: str) -> tuple[Candidate, ...] | None:
        """The routes that want ``value``, in order."""
        if self.single:
            return self.candidates if value == self.value else None
        return self.table.get(value)


class Bucket:
    """The routes of one path condition. Filled in route order, then sealed, then immutable.

    :ivar head: the smallest index.
    """

    def __init__(self) -> None:
        self.entries: list[tuple[RouteEntry, bool]] = []
        self.closed = False
        self.head = NO_MATCH
        self.plain: tuple[Candidate, ...] = ()
        self.guards: tuple[Guard, ...] = ()
        self.guard_of: dict[str, Guard] = {}

    def add(self, entry: RouteEntry, implied: bool) -> None:
        """Take a route in.

        :param implied: the path condition holds for every path that finds this bucket.
        """
        if self.closed:
            return  # an earlier route takes every call
        self.closed = implied and not entry.tests
        self.head = min(self.head, entry.index)
        self.entries.append((entry, implied))

    def seal(self) -> None:
        """Sort the routes in: under the guard that tells most values apart, or into the plain list."""
        plain: list[Candidate] = []
        values: dict[str, set[str]] = {}
        for entry, _ in self.entries:
            for test in entry.tests:
                wanted = test.guard()
                if wanted is not None:
                    values.setdefault(wanted[0], set()).add(wanted[1])
        for entry, implied in self.entries:
            chosen: Test | None = None
            name = ""
            value = ""
            for test in entry.tests:
                wanted = test.guard()
                if wanted is not None and (chosen is None or len(values[wanted[0]]) > len(values[name])):
                    chosen = test
                    name, value = wanted
            checks: list[Test] = [] if implied else [entry.path]
            checks.extend([test for test in entry.tests if test is not chosen])
            candidate = Candidate(entry, checks)
            if chosen is None:
                plain.append(candidate)
                continue
            guard = self.guard_of.get(name)
            if guard is None:
                guard = Guard(name, entry.index)
                self.guard_of[name] = guard
            guard.add(value, candidate)
        for guard in self.guard_of.values():
            guard.seal()
        self.plain = tuple(plain)
        self.guards = tuple(self.guard_of.values())  # in the order of their heads
        self.entries = []

    def first(self, path: str, headers: dict[str, str], bound: int) -> Candidate | None:
        """The first route that holds and has an index under ``bound``."""
        best = first_of(self.plain, path, headers, bound)
        if best is not None:
            bound = best.index
        if not self.guards:
            return best
        if len(self.guards) <= len(headers):
            for guard in self.guards:
                if guard.head >= bound:
                    break
                value = headers.get(guard.name)
                if value is None:
                    continue
                candidates = guard.find(value)
                if candidates is not None:
                    found = first_of(candidates, path, headers, bound)
                    if found is not None:
                        best = found
                        bound = found.index
            return best
        for name, value in headers.items():
            named = self.guard_of.get(name)
            if named is None or named.head >= bound:
                continue
            candidates = named.find(value)
            if candidates is not None:
                found = first_of(candidates, path, headers, bound)
                if found is not None:
                    best = found
                    bound = found.index
        return best

    def collect(self, headers: dict[str, str], bound: int, into: list[Candidate]) -> None:
        """Append every route under ``bound`` that the guards let through."""
        append_under(self.plain, bound, into)
        for guard in self.guards:
            if guard.head >= bound:
                break
            value = headers.get(guard.name)
            if value is not None:
                candidates = guard.find(value)
                if candidates is not None:
                    append_under(candidates, bound, into)

    def drop(self, verdicts: bytearray) -> None:
        """Leave out the plain routes whose path condition has failed, in a bucket of one path.

        A bucket that several paths share has no route whose path is still to be tried.
        """
        plain: list[Candidate] = []
        for candidate in self.plain:
            if candidate.regex is None or verdicts[candidate.index] != FAILED:
                plain.append(candidate)
        if len(plain) < len(self.plain):
            self.plain = tuple(plain)

    def narrowed(self, path: str) -> Bucket:
        """A copy for one path, without the plain routes whose path condition fails; no regular expression is
        tried.
        """
        copy = Bucket()
        copy.guards = self.guards
        copy.guard_of = self.guard_of
        for guard in self.guards:
            copy.head = min(copy.head, guard.head)
        plain: list[Candidate] = []
        for candidate in self.plain:
            if candidate.regex is not None or candidate.path.holds(path, {}):
                plain.append(candidate)
                copy.head = min(copy.head, candidate.index)
        copy.plain = tuple(plain)
        return copy


class PrefixIndex:
    """Buckets by prefix.

    All prefixes of a text are found from the greatest one that is not greater than the text: each of them is
    that one, or begins it. ``parents`` leads from a prefix to the longest other one that begins it.
    """

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.keys: list[str] = []
        self.parents: list[int] = []

    def seal(self) -> None:
        """Build the order. Nothing may be added afterwards."""
        self.keys = sorted(self.buckets)
        open_: list[int] = []
        for at, key in enumerate(self.keys):
            while open_ and not key.startswith(self.keys[open_[-1]]):
                open_.pop()
            self.parents.append(open_[-1] if open_ else -1)
            open_.append(at)

    def collect(self, text: str, into: list[Bucket]) -> None:
        """Append the bucket of every prefix that begins ``text``."""
        at = bisect_right(self.keys, text) - 1
        while at >= 0 and not text.startswith(self.keys[at]):
            at = self.parents[at]
        while at >= 0:
            into.append(self.buckets[self.keys[at]])
            at = self.parents[at]


class PathIndex:
    """Buckets by path condition, those that ignore case apart. Filled in route order, then sealed."""

    def __init__(self) -> None:
        self.exact: dict[str, Bucket] = {}
        self.folded_exact: dict[str, Bucket] = {}
        self.prefixes = PrefixIndex()
        self.folded_prefixes = PrefixIndex()
        self.anywhere: dict[str, Bucket] = {}

    def add(self, entry: RouteEntry) -> None:
        """Take a route in."""
        test = entry.path.test
        exact = self.folded_exact if test.ignore_case else self.exact
        prefixes = self.folded_prefixes.buckets if test.ignore_case else self.prefixes.buckets
        if test.kind == EXACT:
            exact.setdefault(test.value, Bucket()).add(entry, not test.one_line)
        elif test.kind == PREFIX:
            prefixes.setdefault(test.value, Bucket()).add(entry, not test.one_line)
        elif test.kind == SEPARATED_PREFIX:
            exact.setdefault(test.value, Bucket()).add(entry, not test.one_line)
            prefixes.setdefault(test.value + "/", Bucket()).add(entry, not test.one_line)
        else:
            self.anywhere.setdefault("", Bucket()).add(entry, False)

    def seal(self) -> None:
        """Make it ready for :meth:`collect`."""
        for buckets in (
            self.exact,
            self.folded_exact,
            self.prefixes.buckets,
            self.folded_prefixes.buckets,
            self.anywhere,
        ):
            for bucket in buckets.values():
                bucket.seal()
        self.prefixes.seal()
        self.folded_prefixes.seal()

    def collect(self, path: str) -> list[Bucket]:
        """The buckets that ``path`` belongs to, in the order of their heads."""
        found: list[Bucket] = []
        for bucket in self.anywhere.values():
            found.append(bucket.narrowed(path))
        if path in self.exact:
            found.append(self.exact[path])
        self.prefixes.collect(path, found)
        if self.folded_exact or self.folded_prefixes.keys:
            folded = fold(path)
            if folded in self.folded_exact:
                found.append(self.folded_exact[folded])
            self.folded_prefixes.collect(folded, found)
        found.sort(key=head_of)
        return found


def head_of(bucket: Bucket) -> int:
    """Sort key of buckets."""
    return bucket.head


def index_of(candidate: Candidate) -> int:
    """Sort key of candidates."""
    return candidate.index


class Plan:
    """What is known of a call from its path alone.

    :ivar buckets: of plain routes.
    :ivar slow: of routes with regular expressions.
    :ivar verdicts: by index, of the path's regular expressions that have been tried: ``MET``, ``FAILED`` or
        0. Trying one twice gives the same verdict, so that threads may race here.
    """

    def __init__(self, buckets: list[Bucket], slow: list[Bucket], routes: int) -> None:
        self.buckets = tuple(buckets)
        self.slow = tuple(slow)
        self.slow_head = head_of(slow[0]) if slow else NO_MATCH  # in the order of their heads
        self.verdicts = bytearray(routes if slow else 0)

    def decide(self, path: str, headers: dict[str, str]) -> Candidate | None:
        """The first matching route."""
        best: Candidate | None = None
        bound = NO_MATCH
        for bucket in self.buckets:
            if bucket.head >= bound:
                break
            found = bucket.first(path, headers, bound)
            if found is not None:
                best = found
                bound = found.index
        if self.slow_head < bound:
            waiting: list[Candidate] = []
            for bucket in self.slow:
                bucket.collect(headers, bound, waiting)
            if len(waiting) > 1:
                waiting.sort(key=index_of)
            found = self.first_waiting(waiting, path, headers)
            if found is not None:
                best = found
        return best

    def first_waiting(self, waiting: list[Candidate], path: str, headers: dict[str, str]) -> Candidate | None:
        """The first route with a regular expression that holds; each of the path's is tried once."""
        best: Candidate | None = None
        failed = False
        for candidate in waiting:
            if not all_hold(candidate.checks, path, headers):
                continue
            if candidate.regex is not None:
                verdict = self.verdicts[candidate.index]
                if verdict == 0:
                    verdict = MET if candidate.regex.holds(path, headers) else FAILED
                    self.verdicts[candidate.index] = verdict
                    failed = failed or verdict == FAILED
                if verdict == FAILED:
                    continue
            if all_hold(candidate.later, path, headers):
                best = candidate
                break
        if failed:
            for bucket in self.slow:
                bucket.drop(self.verdicts)
        return best


class RouteProgram:
    """The routes of one virtual host, in order; the first that matches decides.

    Immutable but for the plans that it remembers, so that threads may share it.

    :param refuse: called as ``refuse(path, index)`` for a call that no route matches (index -1) or whose
        route has neither destination nor picker; what it returns or raises is the outcome. Without it the
        outcome is ``None``.
    """

    def __init__(
        self, entries: Sequence[RouteEntry], refuse: Callable[[str, int], object] | None = None
    ) -> None:
        self.entries = tuple(entries)
        self.refuse = refuse
        self.plans: dict[str, Plan] = {}
        self.fast = PathIndex()
        self.slow = PathIndex()
        for index, entry in enumerate(self.entries):
            self.place(entry, index)
        self.fast.seal()
        self.slow.seal()

    def place(self, entry: RouteEntry, index: int) -> None:
        """Number a route and put it among the plain ones or those with regular expressions."""
        entry.index = index
        costly = entry.path.costly()
        for test in entry.tests:
            costly = costly or test.costly()
        if costly:
            self.slow.add(entry)
        else:
            self.fast.add(entry)

    def plan(self, path: str) -> Plan:
        """The plan of a path that has none yet."""
        plan = Plan(self.fast.collect(path), self.slow.collect(path), len(self.entries))
        if len(path) <= MAX_PLANNED_PATH:
            if len(self.plans) >= MAX_PLANS:
                self.plans.clear()
            self.plans[path] = plan
        return plan

    def remembered(self) -> int:
        """How many plans are kept; at most ``MAX_PLANS``."""
        return len(self.plans)

    def decide(self, path: str, headers: Mapping[str, str]) -> Candidate | None:
        """The first matching route."""
        view = headers if isinstance(headers, dict) else dict(headers)
        plan = self.plans.get(path)
        if plan is None:
            plan = self.plan(path)
        return plan.decide(path, view)

    def find(self, path: str, headers: Mapping[str, str]) -> int:
        """The index of the first matching route; -1 where none matches. Draws fractions, picks no
        destination.
        """
        found = self.decide(path, headers)
        return -1 if found is None else found.index

    def match(self, path: str, headers: Mapping[str, str]) -> object:
        """The destination of a call.

        :param path: ``/package.Service/Method``.
        :param headers: lower-case names, several values joined by ``,``; not copied where it is a dict.
        """
        found = self.decide(path, headers)
        if found is None:
            return None if self.refuse is None else self.refuse(path, -1)
        if found.picker is not None:
            return found.picker.pick()
        if found.destination is None and self.refuse is not None:
            return self.refuse(path, found.index)
        return found.destination


class DomainIndex:
    """Virtual hosts by domain, in the order of the Envoy API (gRFC A27, A28).

    Exact, then the longest ``*suffix``, then the longest ``prefix*``, then ``*``; ASCII case is ignored;
    ``*`` stands for at least one character. Of two equal patterns the first one counts.

    :param domains: patterns, each with the opaque object that it stands for.
    """

    def __init__(self, domains: Iterable[tuple[str, object]]) -> None:
        self.exact: dict[str, tuple[str, object]] = {}
        self.suffixes: dict[str, tuple[str, object]] = {}
        self.prefixes: dict[str, tuple[str, object]] = {}
        self.any: tuple[str, object] | None = None
        for pattern, target in domains:
            folded = fold(pattern)
            if folded == "*":
                self.any = self.any or (pattern, target)
            elif folded.startswith("*"):
                self.suffixes.setdefault(folded[1:], (pattern, target))
            elif folded.endswith("*"):
                self.prefixes.setdefault(folded[:-1], (pattern, target))
            else:
                self.exact.setdefault(folded, (pattern, target))
        self.suffix_lengths = sorted({len(suffix) for suffix in self.suffixes}, reverse=True)
        self.prefix_lengths = sorted({len(prefix) for prefix in self.prefixes}, reverse=True)

    def find(self, *spellings: str) -> tuple[str, str, object] | None:
        """The pattern that matched, the spelling that it matched, and what it stands for.

        :param spellings: of one authority (such as with and without its port); a kind of pattern is tried on
            all of them before the next kind, and the first spelling is preferred within a kind.
        """
        folded = [(fold(spelling), spelling) for spelling in spellings]
        for text, spelling in folded:
            if text in self.exact:
                return (self.exact[text][0], spelling, self.exact[text][1])
        for text, spelling in folded:
            for length in self.suffix_lengths:
                found = self.suffixes.get(text[len(text) - length :]) if len(text) > length else None
                if found is not None:
                    return (found[0], spelling, found[1])
        for text, spelling in folded:
            for length in self.prefix_lengths:
                found = self.prefixes.get(text[:length]) if len(text) > length else None
                if found is not None:
                    return (found[0], spelling, found[1])
        if self.any is not None and folded:
            return (self.any[0], folded[0][1], self.any[1])
        return None
