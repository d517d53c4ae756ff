"""A watch over the suite: whoever talks to anything but this machine fails.

Python reports every look-up, connection and datagram of its sockets to audit hooks, whatever library makes it.
"""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

EVENTS = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"})
seen: list[str] = []
"""What was tried since the list was last emptied."""


class NetworkUsed(OSError):
    """Raised where the network is asked for; what swallows it is found out all the same."""


def is_local(host: Any) -> bool:
    """Whether a host is this machine: a loopback address, localhost, or none at all."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _host(event: str, arguments: tuple[Any, ...]) -> Any:
    """The host an event is about; None where it stays on this machine (a socket that is a file has no tuple)."""
    address = arguments[0] if event in ("socket.getaddrinfo", "socket.gethostbyname") else arguments[1]
    if isinstance(address, tuple):
        return address[0] if address and isinstance(address[0], (str, bytes)) else None  # netlink has numbers
    return address if event in ("socket.getaddrinfo", "socket.gethostbyname") else None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in EVENTS and not is_local(_host(event, arguments)):
        seen.append(f"{event} {_host(event, arguments)!r}")
        raise NetworkUsed(f"no network unless asked: {seen[-1]}")


def install() -> None:
    """Watch from now on; a hook cannot be taken away."""
    sys.addaudithook(_watch)
