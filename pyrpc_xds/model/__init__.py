"""Immutable configuration: what the control plane said, parsed once, defaults filled in.

Everything here is a frozen, slotted, hashable dataclass. A file per resource type, named with its xDS word.
"""
