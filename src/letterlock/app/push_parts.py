"""Making push: its key, its driver, its use case, and the routes that lead to it."""

import os
import ssl
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from letterlock.app.keys import Keys
from letterlock.app.relay_parts import Schedule
from letterlock.app.settings import Apns, Fcm, Settings, SettingsError, SettingsReason, is_loopback, secret_text
from letterlock.faces.http.push import push_routes
from letterlock.faces.http.routes import Route
from letterlock.gateway.hub import Hub
from letterlock.model.clock import Clock
from letterlock.relay.ports import Committer
from letterlock.relay.push import Push, PushReads
from letterlock.transports.push.apns import ApnsSender
from letterlock.transports.push.fcm import FcmSender, ServiceAccount
from letterlock.transports.push.port import PushDrivers
from letterlock.transports.push.web import WebPushSender
from letterlock.watch.metrics import Metrics
from letterlock.wire.webpush import HostList, private_key, public_bytes

_LABELS: Final = (b"push vapid 1", b"push vapid 2")
"""The VAPID key comes from the key store, so that it lives as long as the subscriptions that were made with it."""


async def open_push(
    settings: Settings,
    committer: Committer,
    reads: PushReads,
    keys: Keys,
    hub: Hub,
    clock: Clock,
    metrics: Metrics,
    add: Schedule,
    purge_every_s: float,
    closers: list[Callable[[], Awaitable[None] | None]],
) -> tuple[Route, ...]:
    """Makes it, and starts it where the settings name a push service.

    Raises:
        SettingsError: a key that settings name is not there, or is none.
    """
    vapid_key = private_key(b"".join(keys.derive(label) for label in _LABELS))
    drivers = _drivers(settings, vapid_key, clock, closers)
    push = Push(
        committer,
        reads,
        keys.storage,
        keys.derive(b"push endpoints"),
        drivers,
        hub.connected,
        clock,
        os.urandom,
        lambda result: metrics.pushed(result.value),
    )
    add("push_subscriptions", purge_every_s, push.purge)
    if push.offered:
        hub.absent = push.absent
        closers.append(push.stop)
        await push.start()
    return push_routes(push, public_bytes(vapid_key))


def _drivers(
    settings: Settings,
    vapid_key: ec.EllipticCurvePrivateKey,
    clock: Clock,
    closers: list[Callable[[], Awaitable[None] | None]],
) -> PushDrivers:
    hosts = HostList(settings.push.hosts)
    web = WebPushSender(vapid_key, hosts, settings.push.subject, clock) if hosts else None
    apns = _apns(settings.apns, clock) if settings.apns.key else None
    fcm = _fcm(settings.fcm, clock) if settings.fcm.service_account else None
    closers.extend(driver.close for driver in (web, apns, fcm) if driver is not None)
    return PushDrivers(web, apns, fcm)


def _apns(settings: Apns, clock: Clock) -> ApnsSender:
    key = _private_key(secret_text(settings.key), "apns.key")
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SettingsError(SettingsReason.INVALID, "apns.key: a private key on P-256, as Apple gives it (.p8)")
    try:
        trust = ssl.create_default_context(cafile=settings.ca or None)
    except (OSError, ssl.SSLError):
        raise SettingsError(SettingsReason.INVALID, "apns.ca: a file with certificates in PEM") from None
    trust.minimum_version = ssl.TLSVersion.TLSv1_2
    origin = f"https://{settings.host}"
    return ApnsSender(key, settings.key_id, settings.team_id, settings.topic, origin, clock, trust)


class _AccountFile(msgspec.Struct):
    """What is used of Google's file."""

    project_id: str
    client_email: str
    private_key_id: str
    private_key: str
    token_uri: str


def _fcm(settings: Fcm, clock: Clock) -> FcmSender:
    try:
        told = msgspec.json.decode(secret_text(settings.service_account), type=_AccountFile)
    except (msgspec.DecodeError, UnicodeDecodeError):
        hint = "fcm.service_account: the JSON file that Google's console gives for a service account"
        raise SettingsError(SettingsReason.INVALID, hint) from None
    key = _private_key(told.private_key.encode(), "fcm.service_account")
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SettingsError(SettingsReason.INVALID, "fcm.service_account: its private_key is an RSA key")
    here = is_loopback(settings.host.rpartition(":")[0])
    if not _may_ask(told.token_uri, here):
        raise SettingsError(SettingsReason.PUSH_HOST, "fcm.service_account: its token_uri is https, at googleapis.com")
    account = ServiceAccount(told.project_id, told.client_email, told.private_key_id, key, told.token_uri)
    return FcmSender(account, f"{'http' if here else 'https'}://{settings.host}", clock)


def _may_ask(url: str, here: bool) -> bool:
    """Whether an assertion may go there: whoever gets it can wake our devices for an hour."""
    parts = urlsplit(url)
    if here and parts.scheme == "http":
        return is_loopback(parts.hostname or "")
    host = parts.hostname or ""
    return parts.scheme == "https" and (host == "googleapis.com" or host.endswith(".googleapis.com"))


def _private_key(pem: bytes, where: str) -> object:
    try:
        return load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(
            SettingsReason.INVALID, f"{where}: no private key in PEM, or one with a passphrase"
        ) from None
