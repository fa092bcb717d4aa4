"""Files that the environment names."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError


def read_file(path: str, variable: str) -> str:
    """The text of a file.

    :param variable: what named it, for error texts.
    :raises ConfigError: it cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot read {path!r}: {error.strerror or error}",
            where=variable,
            hint="Check path and rights",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path!r} is not UTF-8 text: {error.reason}", where=variable) from None
