"""Where the processes of a server can be reached, by the kernel's own word."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from served import all_processes, parent_of

_WAITING = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
"""State of a socket that anybody may send to."""


def with_descendants(pid: int) -> set[int]:
    """A process, and all that it and they have started."""
    parents = {child: parent_of(child) for child in all_processes()}
    found, new = set[int](), {pid}
    while new:
        found |= new
        new = {child for child, parent in parents.items() if parent in new} - found
    return found


def listeners(pids: Iterable[int]) -> set[str]:
    """host:port of every TCP socket that listens, and of every UDP socket without a peer."""
    own = _sockets(pids)
    found = set()
    for table, waiting in _WAITING.items():
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == waiting and inode in own:
                found.add(_address(local))
    return found


def unix_names(pids: Iterable[int]) -> set[str]:
    """Paths of unix sockets that have a name; of abstract ones it begins with `@`."""
    own = _sockets(pids)
    lines = [line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {line[7] for line in lines if len(line) == 8 and line[6] in own}


def _sockets(pids: Iterable[int]) -> set[str]:
    """Inodes."""
    return {found[1] for pid in pids for link in _links(pid) if (found := re.fullmatch(r"socket:\[(\d+)\]", link))}


def _links(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            # it may be closed between two looks
            with suppress(OSError):
                yield str(descriptor.readlink())


def _address(local: str) -> str:
    digits, _, port = local.partition(":")
    # each word of 32 bits in this machine's order
    words = [bytes.fromhex(digits[k : k + 8])[::-1] for k in range(0, len(digits), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return f"{mapped or address}:{int(port, 16)}"
