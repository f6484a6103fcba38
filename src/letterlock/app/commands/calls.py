"""Calls of commands to a running gateway, with a tenant's API key."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from letterlock.client.api import TenantApi

TIMEOUT_S: Final = 20
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def check_gateway(gateway: str) -> None:
    """Refuses what is no gateway's address, and plain http beyond this machine.

    Raises:
        ChatError: NOT_A_GATEWAY, PLAIN_HTTP.
    """
    from urllib.parse import urlsplit

    from letterlock.client.errors import ChatError, ChatReason

    try:
        address = urlsplit(gateway)
        host = address.hostname
    except ValueError:
        raise ChatError(ChatReason.NOT_A_GATEWAY) from None
    if address.scheme not in {"http", "https"} or not host or address.query or address.fragment:
        raise ChatError(ChatReason.NOT_A_GATEWAY)
    if address.scheme == "http" and host not in _LOOPBACK:
        raise ChatError(ChatReason.PLAIN_HTTP)


@contextmanager
def tenant_api(gateway: str, api_key_file: Path) -> "Generator[TenantApi]":
    """A tenant's calls to a gateway, over no proxy.

    Raises:
        ChatError: NOT_A_GATEWAY, PLAIN_HTTP, API_KEY_NEEDED.
    """
    import httpx

    from letterlock.client.api import TenantApi
    from letterlock.client.errors import ChatError, ChatReason

    check_gateway(gateway)
    try:
        secret = api_key_file.read_text().strip()
    except FileNotFoundError:
        raise ChatError(ChatReason.API_KEY_NEEDED) from None
    with httpx.Client(base_url=gateway.rstrip("/"), timeout=TIMEOUT_S, trust_env=False) as http:
        yield TenantApi(http, secret)
