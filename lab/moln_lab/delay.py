"""The program that makes a link slow: reads frames from a tap device and sends each on, so many milliseconds later.

Run by `faults` in the network namespace of the bridge: `python -m moln_lab.delay TAP PORT MILLISECONDS`. The kernels
of build machines often lack netem; this needs a tap device and a packet socket only.
"""

import fcntl
import os
import select
import socket
import struct
import sys
import time
from collections import deque

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_FRAME = 65_536
_LIMIT = 10_000
"""Frames under way at most; a link that is fuller loses what comes, as real ones do."""


def relay(tap: int, port: socket.socket, seconds: float) -> None:
    """Send on all that is read from a tap device, in order and so much later, for ever."""
    waiting: deque[tuple[float, bytes]] = deque()
    while True:
        until_due = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select.select([tap], [], [], until_due)
        now = time.monotonic()
        if readable:
            frame = os.read(tap, _FRAME)
            if len(waiting) < _LIMIT:
                waiting.append((now + seconds, frame))
        while waiting and waiting[0][0] <= now:
            port.send(waiting.popleft()[1])


def open_tap(name: str) -> int:
    """Make a tap device that lives as long as this process, and return its file descriptor."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return tap


def main() -> None:
    """Run until killed."""
    name, port_name, milliseconds = sys.argv[1:]
    tap = open_tap(name)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as port:
        port.bind((port_name, 0))
        _up(port, name)
        relay(tap, port, int(milliseconds) / 1000)


def _up(any_socket: socket.socket, name: str) -> None:
    """Set a device up (netdevice(7): SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP)."""
    request = struct.pack("16sH14x", name.encode(), 0)
    flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, 0x8913, request))[1]
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", name.encode(), flags | 0x1))


if __name__ == "__main__":
    main()
