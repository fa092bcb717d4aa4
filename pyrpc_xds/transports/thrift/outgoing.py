"""The header of a client's requests: who calls whom, how long it waits, and the attachments."""

from __future__ import annotations

from collections.abc import Mapping

from ..._ttheader import Template
from ...attachments import persistent_attachments
from . import theader, ttheader
from .call import FROM_METHOD, FROM_SERVICE, serving_call
from .codec import CALL, ONEWAY
from .header import BINARY_ID, COMPACT_ID, OUT_OF_ORDER, Header
from .metainfo import LOG_ID, carried
from .service import Method
from .wire import Wire

_NONE: Mapping[str, str] = {}

# Kitex's numbers of int keys (pkg/transmeta).
TRANSPORT_TYPE = 1
TO_SERVICE = 6
TO_METHOD = 9
CONNECT_TIMEOUT = 17
MESSAGE_TYPE = 22

_ZLIB = (1,)
# What Kitex keeps a timeout in: nanoseconds, 63 bits.
_LONGEST = 2**63 // 10**6 - 1


class Outgoing:
    """Makes the frames of one client.

    :param service: the IDL's name of it.
    :param to: whom the calls go to: the authority of the target.
    :param workload: whom they come from; empty: not said.
    :param connect_timeout: seconds.
    :param any_order: answers may come in any order.
    """

    def __init__(
        self, wire: Wire, service: str, to: str, workload: str, connect_timeout: float, any_order: bool
    ) -> None:
        self._wire = wire
        self._protocol = COMPACT_ID if wire.compact else BINARY_ID
        self._flags = OUT_OF_ORDER if any_order else 0
        self._apache = wire.header == "theader"
        self._strings = {} if self._apache else {"isn": service}
        self._ints = {
            TRANSPORT_TYPE: "framed" if wire.framed else "unframed",
            FROM_SERVICE: workload,
            TO_SERVICE: to,
            CONNECT_TIMEOUT: str(max(1, round(min(_LONGEST, connect_timeout * 1000)))),
        }
        if not workload:
            del self._ints[FROM_SERVICE]
        # By the method called and the one that is being served: both are the IDLs'.
        self._templates: dict[tuple[str, str | None], Template] = {}

    def frame(
        self, message: bytes, method: Method, seqid: int, seconds: float, attachments: Mapping[str, str]
    ) -> bytes:
        """The frame of a request.

        :param seconds: that the caller still waits.
        :raises HeaderTooLarge: the attachments do not fit.
        """
        call = serving_call()
        passed_on = _NONE if call is None else call.passed_on
        if self._apache:
            strings = self._strings
            if attachments or passed_on:
                strings, _ = carried(attachments, persistent_attachments(), passed_on, strings, plain=True)
            transforms = _ZLIB if self._wire.zlib else ()
            header = Header(
                seqid, self._flags, self._protocol, transforms=transforms, strings=strings, plain=True
            )
            return theader.encode(header, message)
        serving = None if call is None else call.method
        try:
            template = self._templates.get((method.name, serving)) or self._template(method, serving)
            milliseconds = max(1, int(min(_LONGEST, seconds * 1000)))
            if not attachments and not passed_on:
                return template.plain(seqid, milliseconds, message)
            strings, token = carried(attachments, persistent_attachments(), passed_on, self._strings)
            return template.carrying(seqid, milliseconds, message, attachments.get(LOG_ID), strings, token)
        except Exception as error:
            raise ttheader.fitting(error, {**passed_on, **attachments}) from None

    def _template(self, method: Method, serving: str | None) -> Template:
        ints = {
            **self._ints,
            TO_METHOD: method.name,
            MESSAGE_TYPE: str(ONEWAY if method.oneway else CALL),
        }
        if serving is not None:
            ints[FROM_METHOD] = serving
        made = Template(self._protocol, self._flags, self._wire.framed, ints, self._strings)
        self._templates[method.name, serving] = made
        return made
