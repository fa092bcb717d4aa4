"""bookinfo.thrift as a module, loaded from idl/ as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import thriftpy2

FOLDER = Path(__file__).resolve().parents[2] / "idl"

bookinfo: Any = thriftpy2.load(str(FOLDER / "bookinfo.thrift"), module_name="bookinfo_thrift")
