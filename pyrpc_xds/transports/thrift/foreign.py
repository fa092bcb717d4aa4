"""Which other protocol a peer speaks, for the text of errors: a wrong port is the commonest mistake."""

from __future__ import annotations

# The beginnings of HTTP/1.1 requests and answers.
_HTTP = (b"GET ", b"PUT ", b"POST", b"HEAD", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"HTTP")
# TLS records (RFC 8446): alert, handshake; then the version, which begins with 3.
_TLS = (b"\x15\x03", b"\x16\x03")
_SETTINGS = 4
# Bytes that are enough to tell.
HEAD = 9


def spoken(head: bytes) -> str:
    """The protocol, by the first bytes of a connection; empty: none that is known here.

    :param head: from either side: an HTTP/2 client begins with a text, a server with a frame of settings.
    """
    if head.startswith(_TLS):
        return "TLS"
    if head.startswith(b"PRI ") or (
        len(head) >= HEAD and head[3] == _SETTINGS and not head[0] and not any(head[4:HEAD])
    ):
        return "HTTP/2 (gRPC, Triple)"
    return "HTTP/1.1" if head.startswith(_HTTP) else ""


def hint(head: bytes) -> str:
    """What to add to the text of an error; empty where nothing is known."""
    protocol = spoken(head)
    return f"; the peer speaks {protocol}, not Thrift: is the port the right one?" if protocol else ""


def ended(head: bytes, form: object, proven: bool) -> str:
    """The text for a connection that the server has closed instead of an answer.

    :param head: the first bytes that have come of the answer.
    :param form: what the client speaks.
    :param proven: an answer has come on the connection before, so it is not the form that the server refuses.
    """
    text = f"the server closed the connection{hint(head)}"
    if head or proven:
        return text
    return f"{text}; where it always does, it may not take {form}, or not this message (its log may say why)"
