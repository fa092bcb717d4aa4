"""Protobuf to model: the only place that knows a protobuf type, and the only one that validates.

A decoder takes the bytes of one resource and gives its model, or raises
:class:`~pyrpc_xds.errors.ResourceInvalid` with the field and the reason; no other exception leaves it.
What is unsupported is refused, or left out with a note where that can neither widen a match nor weaken
security.
"""
