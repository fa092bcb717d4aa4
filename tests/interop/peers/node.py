"""A node without Kubernetes: pods as their specs say, each with an address and a file system of its own.

Runs as root in a :class:`.netns.Namespace` made by :data:`ENTERING`, whose network is the pods'. What a kubelet and a
container runtime do with a pod of the greeter is done here: the downward API, ConfigMaps, $(VARIABLES), the read-only
root, user, capabilities, process 1, gRPC probes, SIGTERM and the grace period. Resource limits and seccomp are not.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from . import image

ENTERING = ("unshare", "-nm")
ADDRESS = "10.244.0.1"
READY_SECONDS = 60.0
LINE_SECONDS = 30.0
# Inside the pod's own namespaces, as root; what follows the settings is its environment and command.
CONTAINER = """
set -e
scratch=$1 app=$2 volumes=$3 user=$4 group=$5
shift 5
read -r network_is_there
mount -t tmpfs pod "$scratch"
cd "$scratch"
mkdir upper work root app-upper app-work
mount -t overlay overlay -o "lowerdir=/,upperdir=upper,workdir=work" root
mkdir -p root/app
chmod 711 root/root  # the interpreter may lie in root's home
mount -t overlay overlay -o "lowerdir=$app,upperdir=app-upper,workdir=app-work" root/app
cp "$volumes/hosts" root/etc/hosts
mount -t proc proc root/proc
mount --rbind /dev root/dev
for volume in "$volumes"/mounts/*; do
    at=root$(cat "$volume/at")
    mkdir -p "$at"
    mount --bind "$volume/files" "$at"
    mount -o remount,bind,ro "$at"
done
mount -o remount,ro root/app
mount -o remount,ro root
exec chroot root setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs \
    --bounding-set=-all --inh-caps=-all env -i "$@"
"""
_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


def ip(*arguments: str) -> None:
    """Run iproute2's ``ip``."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=10)


class Pod:
    """A running pod of one container.

    :ivar deleted: it has been told to end.
    """

    def __init__(
        self, name: str, address: str, template: Mapping[str, Any], process: subprocess.Popen[str]
    ) -> None:
        self.name, self.address, self.deleted = name, address, False
        self.labels: dict[str, str] = template["metadata"]["labels"]
        self._spec = template["spec"]
        self._process = process
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    @property
    def container(self) -> Mapping[str, Any]:
        """The container's spec."""
        [container] = self._spec["containers"]
        return container  # type: ignore[no-any-return]

    def line(self) -> str:
        """The next line of its log."""
        return self._lines.get(timeout=LINE_SECONDS)

    def lines(self) -> list[str]:
        """The lines that are there."""
        return [self._lines.get_nowait() for _ in range(self._lines.qsize())]

    def probe(self, name: str) -> bool:
        """Ask once what its ``readinessProbe`` or ``livenessProbe`` asks."""
        wanted = self.container[name]["grpc"]
        with grpc.insecure_channel(f"{self.address}:{wanted['port']}") as channel:
            request = health_pb2.HealthCheckRequest(service=wanted.get("service", ""))
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=1.0)
            except grpc.RpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def until(self, name: str, result: bool, seconds: float = READY_SECONDS) -> None:
        """Probe until the result is this.

        :raises AssertionError: it is not in time.
        """
        deadline = time.monotonic() + seconds
        while self.probe(name) is not result:
            assert time.monotonic() < deadline, f"{self.name}: {name} is not {result}"
            assert self._process.poll() is None, f"{self.name} has ended: {self._process.returncode}"
            time.sleep(0.1)

    def object(self) -> dict[str, Any]:
        """The pod as the API server shows it."""
        meta = {"name": self.name, "namespace": "default", "labels": self.labels}
        ready = {"type": "Ready", "status": "True"}
        status = {
            "phase": "Running",
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "conditions": [ready],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": self._spec, "status": status}

    @property
    def process_one(self) -> int:
        """The id of its process 1, outside."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(children.read_text().split()[0])

    def peak_memory(self) -> int:
        """Bytes of memory that it has used at most."""
        status = Path(f"/proc/{self.process_one}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def delete(self) -> None:
        """Tell it to end, as the kubelet does."""
        self.deleted = True
        os.kill(self.process_one, signal.SIGTERM)

    def ended(self) -> int:
        """Its exit code, once it has ended.

        :raises TimeoutExpired: it outlives its grace period, after which the kubelet kills it.
        """
        code = self._process.wait(self._spec["terminationGracePeriodSeconds"])
        self._reader.join()
        return code

    def kill(self) -> None:
        """End it at once."""
        if self._process.poll() is None:
            # With process 1 everything in the pod ends. --kill-child would not outlive setpriv.
            with contextlib.suppress(IndexError, FileNotFoundError):
                os.kill(self.process_one, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout and self._process.stdin
        self._process.stdout.close()
        self._process.stdin.close()


class Node:
    """The node.

    :param app: what is /app in the images (:func:`.image.build`).
    :param names: host names of the node's own address, in place of the cluster's DNS.
    """

    def __init__(self, app: Path, names: tuple[str, ...]) -> None:
        self._app = app
        self._folder = Path(tempfile.mkdtemp(prefix="pyrpc-xds-node-"))
        self._folder.chmod(0o755)
        self._hosts = f"127.0.0.1 localhost\n{ADDRESS} {' '.join(names)}\n"
        self._started = 0
        self.pods: list[Pod] = []
        ip("link", "add", "pods", "type", "bridge")
        ip("addr", "add", f"{ADDRESS}/24", "dev", "pods")
        ip("link", "set", "pods", "up")

    def start(
        self, deployment: Mapping[str, Any], configs: Mapping[str, Mapping[str, str]], *arguments: str
    ) -> Pod:
        """A pod of a Deployment.

        :param configs: the data of ConfigMaps, by name.
        :param arguments: instead of the container's ``args``.
        """
        self._started += 1
        template = deployment["spec"]["template"]
        address = f"10.244.0.{self._started + 10}"
        name = f"{deployment['metadata']['name']}-{self._started}"
        [container] = template["spec"]["containers"]
        fields = {"metadata.name": name, "metadata.namespace": "default", "status.podIP": address}
        variables = {
            each["name"]: each["value"]
            if "value" in each
            else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
            for each in container["env"]
        }
        words = [
            _VARIABLE.sub(lambda found: variables[found[1]], word) for word in arguments or container["args"]
        ]
        made = image.image(container["image"].rpartition("/")[2].partition(":")[0], self._app)
        path = made.environment["PATH"].replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
        environment = {**made.environment, "PATH": path, **variables}
        folder = self._volumes(name, template, container, configs)
        context = template["spec"]["securityContext"]
        process = subprocess.Popen(
            ["unshare", "-nmp", "--fork", "sh", "-c", CONTAINER, "container"]
            + [folder / "scratch", self._app, folder, str(context["runAsUser"]), str(context["runAsGroup"])]
            + [f"{key}={value}" for key, value in environment.items()]
            + [*made.entrypoint, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        pod = Pod(name, address, template, process)
        self.pods.append(pod)
        self._connect(pod, process.pid)
        assert process.stdin
        print("go", file=process.stdin, flush=True)
        return pod

    def _volumes(
        self,
        name: str,
        template: Mapping[str, Any],
        container: Mapping[str, Any],
        configs: Mapping[str, Mapping[str, str]],
    ) -> Path:
        folder = self._folder / name
        (folder / "scratch").mkdir(parents=True)
        (folder / "hosts").write_text(self._hosts)
        sources = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        for mount in container["volumeMounts"]:
            assert mount["readOnly"]
            volume, here = sources[mount["name"]], folder / "mounts" / mount["name"]
            (here / "files").mkdir(parents=True)
            (here / "at").write_text(mount["mountPath"])
            if "configMap" in volume:
                files = dict(configs[volume["configMap"]["name"]])
            else:
                labels = "\n".join(
                    f'{key}="{value}"' for key, value in template["metadata"]["labels"].items()
                )
                by_path = {"metadata.labels": labels}
                items = volume["downwardAPI"]["items"]
                files = {item["path"]: by_path[item["fieldRef"]["fieldPath"]] for item in items}
            for file, text in files.items():
                (here / "files" / file).write_text(text)
        return folder

    def _connect(self, pod: Pod, process: int) -> None:
        """Give a pod its network; its process waits for that."""
        link = f"pod{self._started}"
        deadline = time.monotonic() + 10.0
        while os.readlink(f"/proc/{process}/ns/net") == os.readlink("/proc/self/ns/net"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(process))
        ip("link", "set", link, "master", "pods", "up")
        for command in (
            ("addr", "add", f"{pod.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
        ):
            inside = ["nsenter", "-t", str(process), "-n", "ip", *command]
            subprocess.run(inside, check=True, capture_output=True, timeout=10)

    def close(self) -> None:
        """End every pod."""
        for pod in self.pods:
            pod.kill()
        shutil.rmtree(self._folder)


@contextmanager
def node(app: Path, *names: str) -> Iterator[Node]:
    """A node that runs as long as the block."""
    made = Node(app, names)
    try:
        yield made
    finally:
        made.close()


def skip_reason() -> str | None:
    """Why there can be no node here, or None."""
    from . import netns

    if os.geteuid() != 0:
        return "a node's pods need root: file systems and users of their own"
    if missing := [name for name in ("ip", "nsenter", "setpriv", "chroot") if shutil.which(name) is None]:
        return f"a node's pods need {', '.join(missing)}"
    found = netns.entering(ENTERING)
    if isinstance(found, str):
        return found
    trial = (
        "ip link add pods type bridge && ip link add pod type veth peer name eth0 && "
        "mount -t tmpfs t /mnt && cd /mnt && mkdir up work root && "
        "mount -t overlay o -o lowerdir=/,upperdir=up,workdir=work root && "
        "exec unshare -nmp --fork true"
    )
    done = subprocess.run(
        [*found, "sh", "-c", trial], capture_output=True, text=True, check=False, timeout=30
    )
    return f"no bridge or overlay to be had here: {done.stderr.strip()}" if done.returncode else None
