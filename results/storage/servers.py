"""The database servers that the user has named. ``PGPASSWORD`` goes to no other, whatever a run's folder says."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from boostformer.errors import UserError
from boostformer.files import replacing

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

VARIABLE = "BOOSTFORMER_SERVERS"
"""Servers that are known besides, ``host:port`` each, with commas between: for machines without a home of their own."""


SECURITY = {
    "channel_binding",
    "gssencmode",
    "krbsrvname",
    "require_auth",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslmode",
    "sslrootcert",
}
"""The options of an address that concern the way to its server."""


def pins_file() -> Path:
    """Return the path of the user's own list of servers, one a line."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "boostformer" / "servers"


def server_of(url: URL) -> str:
    """Name the server of a parsed address as ``host:port``; the host may be a socket's folder or an address.

    What weakens the way to it (TLS, how one is recognised) is part of the name: who named the server without it has
    not named it so.
    """
    hosts = [url.host, url.query.get("host"), url.query.get("hostaddr")]
    host = "+".join(str(host) for host in hosts if host) or os.environ.get("PGHOST", "local")
    # In this order psycopg takes them.
    port = url.query.get("port") or url.port or os.environ.get("PGPORT", "5432")
    how = "".join(f"?{name}={url.query[name]}" for name in sorted(SECURITY & url.query.keys()))
    return f"{host}:{port}{how}"


def pin(server: str) -> None:
    """Remember a server that the user has named directly, not through a run's folder; warn where that cannot be."""
    known = _pinned()
    if server in known:
        return
    try:
        with replacing(pins_file(), parents=True) as part:
            part.write_text("\n".join(sorted({*known, server})) + "\n", encoding="utf-8")
    except (UserError, OSError, RuntimeError) as error:  # the last one where nobody has a home
        warnings.warn(f"the server is not remembered as yours: {error}", stacklevel=3)


def is_named(place: str) -> bool:
    """Tell whether the user has named a server, or another place of runs, directly."""
    return place in _pinned() | set(os.environ.get(VARIABLE, "").split(","))


def check(server: str, source: object) -> None:
    """Raise :class:`UserError` when a password would go to a server that only ``source`` names."""
    if not os.environ.get("PGPASSWORD") or is_named(server):
        return
    raise UserError(
        f"{source}: names the database server '{server}', which you have not named yourself, so it does not get "
        f"PGPASSWORD; if it is yours, name it once with --storage, or in ${VARIABLE}, or keep its password in ~/.pgpass"
    )


def _pinned() -> set[str]:
    try:
        return set(pins_file().read_text(encoding="utf-8").split("\n")) - {""}
    except (OSError, RuntimeError, UnicodeDecodeError):
        return set()
