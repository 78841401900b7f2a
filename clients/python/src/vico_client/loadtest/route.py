"""How requests reach the server: where, as whom, in one answer or as a stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vico_client.loadtest.errors import LoadTestError, read_text
from vico_client.settings import TLS, Settings, make_settings


@dataclass(frozen=True)
class Tenant:
    """One of those who load the server. name: in records and reports; api_key: None = that of VICO_API_KEY."""

    name: str = ""
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Route:
    """Tenants take turns, request by request; in a closed loop user by user. timeout: seconds, without a deadline.

    settings: of each tenant's connection, in the order of `names`.
    """

    names: tuple[str, ...]
    settings: tuple[Settings, ...]
    timeout: float
    stream: bool = False

    @property
    def address(self) -> str:
        """Of the one server."""
        return self.settings[0].addresses[0]

    def turn(self, number: int, user: int | None) -> int:
        """Which tenant sends request `number`, of `user` in a closed loop."""
        return (number if user is None else user) % len(self.names)


def make_route(address: str, timeout: float, tls: TLS | None, tenants: tuple[Tenant, ...], *, stream: bool) -> Route:
    """InvalidRequest names a file or a key that is wrong; LoadTestError: several servers."""
    chosen = tenants or (Tenant(),)
    settings = tuple(make_settings(address, timeout, tls, tenant.api_key) for tenant in chosen)
    if len(settings[0].addresses) != 1:
        raise LoadTestError("several servers", field="address", hint="one: what is measured is a server")
    if tls is not None:
        tls.credentials()  # a missing file is named here, once, and not by every sending process
    return Route(tuple(tenant.name for tenant in chosen), settings, timeout, stream)


def read_tenants(path: Path | None) -> tuple[Tenant, ...]:
    """Of a file with one line for each, `<name> <API key>`; none without a file. LoadTestError never shows a key."""
    if path is None:
        return ()
    tenants: list[Tenant] = []
    for number, line in enumerate(read_text(path, "tenants").splitlines(), 1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        if len(parts) != 2 or parts[0] in {tenant.name for tenant in tenants}:
            raise LoadTestError(f"line {number}", field="tenants", hint="`<name> <API key>`, each name once")
        tenants.append(Tenant(*parts))
    if not tenants:
        raise LoadTestError("no line with a tenant", field="tenants", hint="`<name> <API key>`, one or more")
    return tuple(tenants)
