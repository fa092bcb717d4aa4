"""The greeter's client: one long-lived stub, told over standard input what to call.

    echo '{"calls": 100, "attachments": {"user": "admin"}}' | python -m examples.greeter.client --protocol triple

With --dubbo FILE it is Dubbo's YAML that says what is called:

    echo '{"calls": 100}' | python -m examples.greeter.client --dubbo examples/greeter/conf/client.yaml

Each line is answered by one line: how many answers came from which version. Between the lines it goes on calling
at a low rate, so that a call lost while the rules change would be counted in "background".

With --every it asks nobody and says who answered each call, as the tutorial's client does:

    python -m examples.greeter.client --protocol triple --every 1 --attachment user=admin
"""

from __future__ import annotations

import argparse
import collections
import json
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pyrpc_xds

from . import idl

TARGETS = {
    "triple": "xds:///dubbo-go-app.default.svc.cluster.local:20000",
    "thrift": "xds:///greeter.default.svc.cluster.local:9090",
}


def caller(xds: pyrpc_xds.XdsClient, protocol: str, target: str) -> Callable[[], str]:
    """A function that calls SayHello once and returns the version that answered."""
    if protocol == "triple":
        messages, services = idl.protobuf()
        stub = services.GreeterStub(xds.triple.channel(target))
        return lambda: str(stub.SayHello(messages.HelloRequest(name="Laurence"), timeout=10.0).id)
    module = idl.thrift()
    greeter = xds.thrift.client(module.Greeter, target, timeout=10.0)
    return lambda: str(greeter.SayHello(module.HelloRequest(name="Laurence")).id)


def dubbo_caller(dubbo: pyrpc_xds.Dubbo) -> Callable[[], str]:
    """As :func:`caller`, by the reference of Dubbo's YAML."""
    messages, services = idl.protobuf()
    stub = dubbo.reference(services.GreeterStub)
    return lambda: str(stub.SayHello(messages.HelloRequest(name="Laurence")).id)


class Background:
    """Calls now and then in a thread of its own, and counts."""

    def __init__(self, call: Callable[[], str]) -> None:
        self.calls = 0
        self.failures: list[str] = []
        self._call = call
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="background-calls")
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            self.calls += 1
            try:
                self._call()
            except Exception as error:  # counted and shown: the demo fails on any
                self.failures.append(f"{type(error).__name__}: {error}")

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()


def call_on_and_on(call: Callable[[], str], seconds: float, attachments: dict[str, str]) -> None:
    """Call, say who answered and wait, until SIGTERM or SIGINT."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with pyrpc_xds.attachments(attachments):
        while not stopping.wait(seconds):
            try:
                print(f'call server response = id:"{call()}"', flush=True)
            except Exception as error:  # as the tutorial's: the next call may be answered
                print(f"call server error = {type(error).__name__}: {error}", flush=True)


def main() -> None:
    """Serve standard input until it closes, or call on and on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--protocol", choices=sorted(TARGETS))
    how.add_argument("--dubbo", metavar="FILE", help="Dubbo's YAML")
    parser.add_argument("--target", help="xds:///host:port; default: the greeter of the example mesh")
    parser.add_argument("--every", type=float, metavar="SECONDS", help="call on and on, that often")
    parser.add_argument(
        "--attachment", action="append", default=[], metavar="NAME=VALUE", help="of these calls"
    )
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.dubbo:
            call = dubbo_caller(stack.enter_context(pyrpc_xds.Dubbo.load(options.dubbo)))
        else:
            xds = stack.enter_context(pyrpc_xds.XdsClient.from_env())
            call = caller(xds, options.protocol, options.target or TARGETS[options.protocol])
        if options.every is not None:
            call_on_and_on(call, options.every, dict(each.split("=", 1) for each in options.attachment))
            return
        background = Background(call)
        try:
            for line in sys.stdin:
                order = json.loads(line)
                with pyrpc_xds.attachments(order.get("attachments", {})):
                    seen = collections.Counter(call() for _ in range(order["calls"]))
                answer = {"seen": seen, "background": background.calls, "failures": background.failures[:5]}
                print(json.dumps(answer), flush=True)
        finally:
            background.stop()


if __name__ == "__main__":
    main()
