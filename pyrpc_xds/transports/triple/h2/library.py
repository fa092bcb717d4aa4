"""nghttp2, which has the frames, HPACK and flow control; loaded when it is first asked for."""

from __future__ import annotations

import sys
from typing import Any

from ....errors import ConfigError

# The shared library of nghttp2 1.x has kept this number, and its binary interface, since 2016.
_NAMES = (
    ("libnghttp2.14.dylib", "/opt/homebrew/lib/libnghttp2.14.dylib", "/usr/local/lib/libnghttp2.14.dylib")
    if sys.platform == "darwin"
    else ("libnghttp2.so.14",)
)


def load() -> Any:
    """The compiled module, with nghttp2 loaded.

    :raises ConfigError: there is no such library, or the module was not compiled; says what to install.
    """
    try:
        from .... import _h2
    except ImportError as error:
        raise ConfigError(
            "codec='nghttp2' needs pyrpc_xds._h2, which was not compiled: install a C compiler and Cython, and"
            " reinstall pyrpc-xds"
        ) from error
    try:
        _h2.load(_NAMES)
    except OSError as error:
        raise ConfigError(
            f"codec='nghttp2': {error}; install it (Debian: apt install libnghttp2-14, Fedora: dnf install"
            " libnghttp2, macOS: brew install nghttp2)"
        ) from error
    return _h2
