"""Calls without IDL: what Dubbo makes of interfaces whose types are the language's own and not protobuf's.

::

    wrapper.py         the messages that such arguments and results travel in
    serializations.py  what is inside of them: JSON text, MessagePack, protobuf
    handlers.py        serves functions
    client.py          calls methods
"""

from .client import GenericService

__all__ = ["GenericService"]
