"""Which DestinationRule a node uses for a service, and what is visible where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .meta import Labels
from .names import is_wildcard, wildcard_matches
from .policies import DestinationRule, Subset, TrafficPolicy

ROOT_NAMESPACE = "istio-system"


@dataclass(frozen=True, slots=True)
class MergedRule:
    """The DestinationRules of one host in one namespace, as one."""

    policy: TrafficPolicy | None
    subsets: tuple[Subset, ...]
    export_to: tuple[str, ...] = ()
    workload_selector: Labels | None = None

    def subset(self, name: str) -> Subset | None:
        """The subset of that name."""
        return next((subset for subset in self.subsets if subset.name == name), None)


def exported(export_to: Iterable[str], owner: str, namespace: str) -> bool:
    """Whether something of namespace ``owner`` with these ``exportTo`` is visible in ``namespace``."""
    values = tuple(export_to)
    if not values or "*" in values:
        return True
    return "~" not in values and (("." in values and owner == namespace) or namespace in values)


def selects(selector: Labels, labels: Labels) -> bool:
    """Whether all of ``selector`` is among ``labels``."""
    return all(labels.get(key) == value for key, value in selector.items())


class RuleIndex:
    """DestinationRules by namespace and host. Rules for one host in one namespace are one rule."""

    def __init__(self, rules: Iterable[DestinationRule]) -> None:
        # Rules that select workloads come first: they are the more specific ones.
        ordered = sorted(rules, key=lambda rule: rule.workload_selector is None)
        self._by_namespace: dict[str, dict[str, list[MergedRule]]] = defaultdict(lambda: defaultdict(list))
        for rule in ordered:
            merged = self._by_namespace[rule.meta.namespace][rule.host.lower()]
            export = (".",) if rule.workload_selector is not None else rule.export_to
            for index, known in enumerate(merged):
                if known.workload_selector == rule.workload_selector and sorted(known.export_to) == sorted(
                    export
                ):
                    names = {subset.name for subset in known.subsets}
                    added = tuple(subset for subset in rule.subsets if subset.name not in names)
                    policy = known.policy if known.policy is not None else rule.policy
                    merged[index] = MergedRule(
                        policy, known.subsets + added, known.export_to, known.workload_selector
                    )
                    break
            else:
                merged.append(MergedRule(rule.policy, rule.subsets, export, rule.workload_selector))

    def find(self, namespace: str, labels: Labels, host: str, owner: str) -> MergedRule | None:
        """The rule for ``host``, a service of namespace ``owner``, as a node of ``namespace`` sees it.

        The node's own namespace goes before the service's, and that before the root namespace.
        """
        for place in dict.fromkeys((namespace, owner, ROOT_NAMESPACE)):
            candidates = self._most_specific(place, host, namespace)
            for rule in candidates:
                if rule.workload_selector is not None and selects(rule.workload_selector, labels):
                    return rule
            for rule in candidates:
                if rule.workload_selector is None:
                    return rule
        return None

    def _most_specific(self, owner: str, host: str, namespace: str) -> list[MergedRule]:
        hosts = self._by_namespace.get(owner)
        if not hosts:
            return []
        host = host.lower()
        names = [host] if host in hosts else []
        wildcards = (name for name in hosts if is_wildcard(name) and wildcard_matches(name, host))
        names.extend(sorted(wildcards, key=len, reverse=True))
        for name in names:
            visible = [rule for rule in hosts[name] if exported(rule.export_to, owner, namespace)]
            if visible:
                return visible
        return []
