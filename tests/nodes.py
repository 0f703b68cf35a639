"""torchrun as users start it, and machines for it: network namespaces, each with an address and one link between them.

They need root and Linux's `ip`; a link's rate is shaped by `tc`. A link with delay and loss is made here, packet by
packet, since not every kernel has netem: a TUN device in each namespace, and a thread that passes packets on.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

TUN_SET, TUN_PLAIN, NEW_NETWORK = 0x400454CA, 0x0001 | 0x1000, 0x40000000  # of Linux: TUNSETIFF, IFF_TUN | IFF_NO_PI
ROOT = Path(__file__).parents[1]
LARGEST = 65_536  # bytes of a packet


class Node(NamedTuple):
    """A machine: a namespace, its address and its interface."""

    name: str
    address: str
    interface: str


def available() -> bool:
    """Whether this machine has namespaces and their tools, and we may use them."""
    if shutil.which("ip") is None or shutil.which("tc") is None or os.geteuid() != 0:
        return False
    name = f"antiphon-{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return made and os.access("/dev/net/tun", os.R_OK | os.W_OK)


@contextmanager
def namespaces() -> Iterator[list[Node]]:
    """Two namespaces without a link."""
    nodes = [Node(f"antiphon-{os.getpid()}-{n}", f"10.97.{os.getpid() % 250}.{n + 1}", f"link{n}") for n in range(2)]
    try:
        for node in nodes:
            _ip("netns", "add", node.name)
            _ip("-n", node.name, "link", "set", "lo", "up")
        yield nodes
    finally:
        for node in nodes:
            subprocess.run(["ip", "netns", "delete", node.name], capture_output=True, check=False)


@contextmanager
def shaped(rate: str) -> Iterator[list[Node]]:
    """Two machines with a link of this rate in each direction, as `tc` writes it: 1gbit."""
    with namespaces() as nodes:
        first, second = nodes
        ends = ["peer", "name", second.interface, "netns", second.name]
        _ip("link", "add", first.interface, "netns", first.name, "type", "veth", *ends)
        for node in nodes:
            _address(node)
            shape = ["root", "tbf", "rate", rate, "burst", "128kb", "latency", "50ms"]
            subprocess.run(["tc", "-n", node.name, "qdisc", "add", "dev", node.interface, *shape], check=True)
        yield nodes


@contextmanager
def lossy(delay: float, loss: float, seed: int = 1) -> Iterator[list[Node]]:
    """Two machines with a link on which each packet takes `delay` seconds, and a share `loss` of all is lost."""
    with namespaces() as nodes:
        devices = [_tun(node) for node in nodes]
        for node in nodes:
            _address(node)
        ended = threading.Event()
        passing = threading.Thread(target=_pass_on, args=(devices, delay, loss, random.Random(seed), ended))
        passing.start()
        try:
            yield nodes
        finally:
            ended.set()
            passing.join()
            for device in devices:
                os.close(device)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _address(node: Node) -> None:
    _ip("-n", node.name, "address", "add", f"{node.address}/24", "dev", node.interface)
    _ip("-n", node.name, "link", "set", node.interface, "up")


def _tun(node: Node) -> int:
    """A new TUN device in the node's namespace: a file whose reads and writes are its packets."""
    opened: list[int] = []

    def open_there() -> None:  # a thread can change its namespace, and ends in it
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/var/run/netns/{node.name}") as namespace:
            if libc.setns(namespace.fileno(), NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns")
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, TUN_SET, struct.pack("16sH14x", node.interface.encode(), TUN_PLAIN))
        opened.append(device)

    thread = threading.Thread(target=open_there)
    thread.start()
    thread.join()
    return opened[0]


def _pass_on(devices: Sequence[int], delay: float, loss: float, chance: random.Random, ended: threading.Event) -> None:
    """Pass packets from each device to the other."""
    waiting: deque[tuple[float, int, bytes]] = deque()
    others = dict(zip(devices, reversed(devices), strict=True))
    while not ended.is_set():
        pause = min(0.1, max(0.0, waiting[0][0] - time.monotonic())) if waiting else 0.1
        for device in select.select(devices, [], [], pause)[0]:
            packet = os.read(device, LARGEST)
            if chance.random() >= loss:
                waiting.append((time.monotonic() + delay, others[device], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, device, packet = waiting.popleft()
            with suppress(OSError):  # the other machine has gone
                os.write(device, packet)


def torchrun(
    options: Sequence[str], command: Sequence[str], log: Path, node: Node | None = None, code: Path = ROOT
) -> subprocess.Popen[bytes]:
    """Start torchrun with `options` and the arguments of antiphon, on a machine if one is given; it writes to `log`.

    `code` is the folder of the package's version.
    """
    paths = os.pathsep.join([str(code), str(code / "runtime"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    place: list[str] = []
    if node is not None:
        environment |= {"GLOO_SOCKET_IFNAME": node.interface}
        place = ["ip", "netns", "exec", node.name]
        options = [*options, "--local-addr", node.address]
    run = [*place, sys.executable, "-m", "torch.distributed.run", *options, "-m", "antiphon", *command]
    with open(log, "ab") as file:
        return subprocess.Popen(run, stdout=file, stderr=file, env=environment, cwd=code, start_new_session=True)


def workers(launcher: subprocess.Popen[bytes]) -> list[int]:
    """The processes that a torchrun has started."""
    try:
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    except OSError:
        return []
    return [int(number) for number in children]


def kill(number: int, whole_group: bool = False) -> None:
    """SIGKILL for a process, or for it and all that it started."""
    with suppress(ProcessLookupError):
        (os.killpg if whole_group else os.kill)(number, signal.SIGKILL)
