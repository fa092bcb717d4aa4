"""The greeter's two interface definitions, loaded from idl/ as they are.

A real project would check in what protoc generates; loading the file here keeps the example independent of the
protobuf version at hand.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "idl"


@functools.cache
def protobuf() -> tuple[Any, Any]:
    """(messages, services) of greeter.proto: what greeter_pb2 and greeter_pb2_grpc would be."""
    import grpc

    sys.path.append(str(FOLDER))
    try:
        messages, services = grpc.protos_and_services("greeter.proto")
    finally:
        sys.path.remove(str(FOLDER))
    return messages, services


@functools.cache
def thrift() -> ModuleType:
    """greeter.thrift as a module."""
    import thriftpy2

    module: ModuleType = thriftpy2.load(str(FOLDER / "greeter.thrift"), module_name="greeter_thrift")
    return module
