"""Method and service of a path, as the routes of Envoy's thrift_proxy name them.

Envoy compares the message's name, ``Method``, or ``Service:Method`` where the client multiplexes several services
over one connection. Ours always knows the service, so that the rules are, for a call ``/package.Service/Method``:

* ``method_name: Method`` is that method of any service; ``Service:Method`` is that of one service;
* ``service_name: Service`` (``Service:`` is the same) is every method of that service, which Envoy only sees where
  the client multiplexes;
* a service is named with or without its package; letters' case counts.
"""

from __future__ import annotations

from .._matcher import StringTest
from ..model.route import PathMatch, PathMatcher


class ThriftNameTest(StringTest):
    """The path's service or method is a certain one, or (``invert``) another.

    Runs when a path is first seen; the matcher remembers the result.
    """

    def __init__(self, path: PathMatcher) -> None:
        # A kind that the matcher does not index, so that it asks `holds`.
        super().__init__("suffix", path.value)
        if path.kind is PathMatch.SERVICE:
            self._service, self._method = path.value, ""
        else:
            self._service, _, self._method = path.value.rpartition(":")
        self._invert = path.invert

    def holds(self, text: str) -> bool:
        """Whether the path ``text`` passes."""
        service, _, method = text.removeprefix("/").rpartition("/")
        named = not self._service or service == self._service or service.endswith(f".{self._service}")
        return (named and (not self._method or method == self._method)) != self._invert
