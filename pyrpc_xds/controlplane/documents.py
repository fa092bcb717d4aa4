"""YAML text and folders of it, as validated objects.

Every error names the file, the line that the document begins on, the object and the field. A document that is bad
does not make the others bad: they are returned together with the errors.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError, missing_extra
from .destination_rules import read_destination_rule
from .envoy_filters import read_envoy_filter
from .fields import Fields
from .kubernetes import read_endpoint_slice, read_endpoints, read_node, read_pod, read_service
from .meta import Meta
from .names import CLUSTER_DOMAIN
from .resources import Resource
from .service_entries import read_service_entry, read_workload_entry
from .virtual_services import read_virtual_service

# Between the name of a file and the line that a document begins on, in the text of where an object stands.
LINE = ", line "
MAX_FILE_BYTES = 64 * 1024 * 1024
_SUFFIXES = (".yaml", ".yml")
_CLUSTER_SCOPED = {"Node"}
# Kinds of the two API families that no proxyless node's routing depends on, or that are not served here.
_ISTIO_KINDS = {
    "DestinationRule",
    "EnvoyFilter",
    "Gateway",
    "ProxyConfig",
    "ServiceEntry",
    "Sidecar",
    "VirtualService",
    "WorkloadEntry",
    "WorkloadGroup",
}
_ISTIO_GROUPS = ("networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io")

# Of Istio's objects any is accepted for any kind, as an API server stores all of them alike.
_ISTIO_VERSIONS = ("v1", "v1beta1", "v1alpha3")
_VERSIONS = {
    "": ("v1",),
    "discovery.k8s.io": ("v1", "v1beta1"),
    "networking.istio.io": _ISTIO_VERSIONS,
}
# Other projects' kinds that are called like one of Istio's.
_NAMESAKES = ("appmesh.k8s.aws", "gateway.solo.io")

# libyaml's loader recurses in C, and ends the process somewhere beyond 20,000.
MAX_DEPTH = 1000

Read = Callable[[Meta, Fields], Resource]


@dataclass(frozen=True, slots=True)
class Documents:
    """What a text or a folder says.

    ``failed`` are the keys of objects whose document is bad; ``broken`` the sources (files) of which not
    even that is known for some document. ``notes`` are valid things without effect here.
    """

    resources: tuple[Resource, ...] = ()
    errors: tuple[ConfigError, ...] = ()
    notes: tuple[str, ...] = ()
    failed: frozenset[tuple[str, str, str]] = frozenset()
    broken: frozenset[str] = frozenset()
    kept: frozenset[tuple[str, str, str]] = frozenset()

    @property
    def keys(self) -> frozenset[tuple[str, str, str]]:
        """Kind, namespace and name of every good object."""
        return frozenset(resource.meta.key for resource in self.resources)


class _Collector:
    def __init__(self, domain: str) -> None:
        self.resources: list[Resource] = []
        self.errors: list[ConfigError] = []
        self.notes: list[str] = []
        self.failed: set[tuple[str, str, str]] = set()
        self.broken: set[str] = set()
        self._places: dict[tuple[str, str, str], str] = {}
        self._domain = domain
        self._readers: dict[tuple[str, str], Read] = {
            ("", "Service"): read_service,
            ("", "Pod"): read_pod,
            ("", "Node"): read_node,
            ("", "Endpoints"): read_endpoints,
            ("discovery.k8s.io", "EndpointSlice"): read_endpoint_slice,
            ("networking.istio.io", "ServiceEntry"): read_service_entry,
            ("networking.istio.io", "WorkloadEntry"): read_workload_entry,
            ("networking.istio.io", "VirtualService"): read_virtual_service,
            ("networking.istio.io", "DestinationRule"): read_destination_rule,
            ("networking.istio.io", "EnvoyFilter"): read_envoy_filter,
        }

    def add_text(self, text: str, source: str) -> None:
        """Take in all documents of ``text``."""
        for line, document in self._parse(text, source):
            if document is None:
                continue
            where = f"{source}{LINE}{line}" if source else f"line {line}"
            try:
                self._add(document, where, source)
            except ConfigError as error:
                self.errors.append(error)
                self.broken.add(source)

    def _parse(self, text: str, source: str) -> Iterator[tuple[int, Any]]:
        yaml = import_yaml()
        try:
            yield from read_yaml(text, strict=True)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark is not None else ""
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
            self.errors.append(
                ConfigError(
                    f"this is not YAML: {problem}", where=f"{source or 'the text'}{line}", hint="Correct it."
                )
            )
            self.broken.add(source)

    def _add(self, document: Any, where: str, source: str) -> None:
        fields = Fields(document, where)
        if fields.text("kind") == "List" and fields.has("items"):
            for item in fields.items("items"):
                self._add(item, where, source)
            return
        api_version, kind = fields.text("apiVersion", None), fields.text("kind", None)
        group, _, version = api_version.rpartition("/")
        metadata = fields.child("metadata")
        name = metadata.text("name", None)
        namespace = "" if kind in _CLUSTER_SCOPED else metadata.text("namespace") or "default"
        where = f"{where} ({kind} {namespace + '/' if namespace else ''}{name})"
        key = (kind, namespace, name)
        try:
            self._check_version(group, version, kind, where)
        except ConfigError as error:
            self.errors.append(error)
            self.failed.add(key)
            return
        reader = self._readers.get((group, kind))
        if reader is None:
            self._unserved(group, kind, where)
            return
        try:
            fields = Fields(document, where, domain=self._domain, notes=self.notes)
            metadata = fields.child("metadata")
            if key in self._places:
                raise ConfigError(
                    f"the same object is in {self._places[key]}",
                    where=where,
                    hint="That one counts; remove one, or rename it.",
                )
            self._places[key] = where
            meta = Meta(
                kind=kind,
                namespace=namespace,
                name=name,
                labels=metadata.labels("labels"),
                annotations=metadata.labels("annotations"),
                created=str(metadata.raw("creationTimestamp") or ""),
                where=where,
            )
            self.resources.append(reader(meta, fields))
        except ConfigError as error:
            self.errors.append(error)
            self.failed.add(key)

    def _check_version(self, group: str, version: str, kind: str, where: str) -> None:
        """:raises ConfigError: a kind that is read here has an apiVersion that nobody has for it."""
        right = next((known for known, name in self._readers if name == kind), None)
        if right is None and kind in _ISTIO_KINDS and group == "networking.istio.io":
            right = group
        if right is None or (group != right and _is_foreign(group, right)):
            return
        if group != right or version not in _VERSIONS[right]:
            written = f"{group}/{version}" if group else version
            raise ConfigError(
                f"no {kind} has the apiVersion {written!r}",
                where=where,
                hint=f"Did you mean {right + '/' if right else ''}v1?",
            )

    def _unserved(self, group: str, kind: str, where: str) -> None:
        if group == "security.istio.io":
            self.notes.append(
                f"{where}: {kind} is not enforced here: this control plane has no security policies"
            )
        elif group == "networking.istio.io" and kind not in _ISTIO_KINDS:
            alike = difflib.get_close_matches(kind, [name for _, name in self._readers], 1)
            raise ConfigError(
                f"Istio has no kind {kind!r}",
                where=where,
                hint=f"Did you mean {alike[0]}?" if alike else f"It has {', '.join(sorted(_ISTIO_KINDS))}.",
            )
        elif group in _ISTIO_GROUPS or group == "gateway.networking.k8s.io":
            self.notes.append(f"{where}: {kind} is not served here")

    def documents(self) -> Documents:
        """All that was taken in."""
        return Documents(
            tuple(self.resources),
            tuple(self.errors),
            tuple(self.notes),
            frozenset(self.failed),
            frozenset(self.broken),
        )


def _is_foreign(group: str, right: str) -> bool:
    """Whether another project may well have a kind of the same name in ``group``, such as Knative its Service."""
    if right == "networking.istio.io":
        return group in _NAMESAKES
    return "." in group and not group.endswith(("k8s.io", "istio.io"))


def read_yaml(text: str, *, strict: bool = False) -> Iterator[tuple[int, Any]]:
    """Each document of ``text``, with the line (from 1) that it begins on.

    :param strict: raise yaml's error where the text is not YAML; otherwise end there.
    """
    yaml = import_yaml()
    make: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader = make(text)
    try:
        if _may_be_deep(text) and _depth(yaml.parse(text, Loader=make)) > MAX_DEPTH:
            raise yaml.YAMLError(f"it is nested more than {MAX_DEPTH} deep")
        while loader.check_node():
            node = loader.get_node()
            try:
                document = loader.construct_document(node)
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
                # PyYAML's own, of values such as the date 2026-13-45.
                raise yaml.YAMLError(f"a value is not what it looks like: {error}") from None
            yield node.start_mark.line + 1, document
    except yaml.YAMLError:
        if strict:
            raise
    finally:
        loader.dispose()


def import_yaml() -> Any:
    """:raises ConfigError: the extra that brings it is missing."""
    try:
        import yaml
    except ImportError:
        raise missing_extra("control-plane", "yaml", "the control plane") from None
    return yaml


def _may_be_deep(text: str) -> bool:
    """Whether it has enough of what nests without a line of its own, whose indentation would bound the depth."""
    return max(text.count(mark) for mark in ("[", "{", "- ", "? ")) > MAX_DEPTH


def _depth(events: Iterable[Any]) -> int:
    """How deeply the collections of a YAML text are nested, up to a little more than is allowed."""
    depth = deepest = 0
    for event in events:
        kind = type(event).__name__
        depth += kind in {"SequenceStartEvent", "MappingStartEvent"}
        depth -= kind in {"SequenceEndEvent", "MappingEndEvent"}
        deepest = max(deepest, depth)
        if deepest > MAX_DEPTH:
            break
    return deepest


def read_text(text: str, source: str = "", *, domain: str = CLUSTER_DOMAIN) -> Documents:
    """The objects of a YAML text of any number of documents. Bad documents are in ``errors``.

    :param source: what to call the text in messages, such as a file name.
    :param domain: the cluster's domain.
    """
    collector = _Collector(domain)
    collector.add_text(text, source)
    return collector.documents()


def config_files(path: Path) -> tuple[Path, ...]:
    """The YAML files of a folder, by name, or the one file that ``path`` is.

    Hidden entries are passed over: a mounted ConfigMap keeps its data in them, behind symbolic links.
    Raises ConfigError where there is no such folder or file.
    """
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise ConfigError("no such folder", where=str(path), hint="Name a folder with *.yaml files.")
    entries = sorted(entry for entry in path.iterdir() if entry.suffix in _SUFFIXES)
    return tuple(entry for entry in entries if not entry.name.startswith(".") and entry.is_file())


def read_files(files: Iterable[Path], *, domain: str = CLUSTER_DOMAIN) -> Documents:
    """The objects of several files, together. A file that cannot be read is an error like a bad document."""
    collector = _Collector(domain)
    for path in files:
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ConfigError(
                    f"the file is larger than {MAX_FILE_BYTES} bytes", where=path.name, hint="Split it."
                )
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue  # removed since the folder was listed: the next look will not list it
        except (OSError, UnicodeDecodeError) as error:
            collector.errors.append(ConfigError(f"the file cannot be read: {error}", where=path.name))
            collector.broken.add(path.name)
            continue
        except ConfigError as error:
            collector.errors.append(error)
            collector.broken.add(path.name)
            continue
        collector.add_text(text, path.name)
    return collector.documents()


def keep_last_good(new: Documents, old: Documents) -> Documents:
    """``new``, with the last good version of what is bad in it.

    An object whose document is now bad keeps its old version; a file in which some document cannot even be
    told apart keeps all objects that it had and that are nowhere else now.
    """
    present = new.keys
    kept = [
        resource
        for resource in old.resources
        if resource.meta.key not in present
        and (resource.meta.key in new.failed or _source(resource) in new.broken)
    ]
    if not kept:
        return new
    keys = frozenset(resource.meta.key for resource in kept)
    return replace(new, resources=(*new.resources, *kept), kept=keys)


def _source(resource: Resource) -> str:
    source, found, _ = resource.meta.where.rpartition(LINE)
    return source if found else ""
