"""A fresh process up to its first answer: run by :mod:`.start`, not by hand.

``python first_call.py RIVAL TARGET STUBS BEGAN``: the rival, what to call, the folder of the generated stubs, and the
monotonic time at which the process was asked for. It prints the milliseconds from there, and from the moment when
everything was imported, to the first answer. It imports nothing that the program would not: what the measuring part
brought along would look free.
"""

import os
import sys
import time

_, RIVAL, TARGET, STUBS, BEGAN = sys.argv
SECONDS = 20.0

sys.path[0] = STUBS  # in place of this folder, whose module names are other packages'
import greeter_pb2  # noqa: E402
import greeter_pb2_grpc  # noqa: E402
import grpc  # noqa: E402

if RIVAL == "pyrpc-xds":
    from pyrpc_xds import XdsClient

imported = time.monotonic()
ours = RIVAL == "pyrpc-xds"
channel = XdsClient.from_env().triple.channel(TARGET) if ours else grpc.insecure_channel(TARGET)
stub = greeter_pb2_grpc.GreeterStub(channel)
answer = stub.SayHello(greeter_pb2.HelloRequest(name="Joe"), timeout=SECONDS, wait_for_ready=True)
answered = time.monotonic()
assert answer.name == "Hello Joe", answer
print(1000 * (answered - float(BEGAN)), 1000 * (answered - imported), flush=True)
os._exit(0)  # how long a process takes to end is not asked
