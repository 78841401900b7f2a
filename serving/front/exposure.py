"""Where a server may listen."""

from __future__ import annotations

import ipaddress

from serving.errors import LaunchError


def require_safe(host: str, has_keys: bool, has_tls: bool, insecure: bool) -> None:
    """Refuse to listen beyond loopback to whoever comes, unless that is said in so many words.

    Raises:
        LaunchError: keys or TLS are missing.
    """
    if insecure or is_loopback(host) or (has_keys and has_tls):
        return
    missing = " and ".join(name for name, given in (("--keys", has_keys), ("--tls-cert", has_tls)) if not given)
    raise LaunchError("host", f"{host} is beyond loopback, and {missing} not given", "both, or --insecure")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
