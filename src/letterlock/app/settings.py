"""Settings: one closed schema. An unknown key is an error, a secret is a reference, defaults are the strict ones.

A secret is never written into the file: ``env:NAME`` takes an environment variable, ``file:/path`` the first line of
a file that only its owner can read.
"""

import ipaddress
import os
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.storage.sqlite.waiting import MIB, WaitingLimits
from letterlock.wire.mls.suites import CipherSuite
from letterlock.wire.webpush import HostList

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
MAX_SECRET: Final = 4096


class SettingsReason(Reason):
    """Why the settings were refused."""

    NOT_FOUND = "settings_file_not_found"
    NOT_TOML = "settings_file_is_not_toml"
    INVALID = "settings_invalid"
    SECRET_INLINE = "secret_must_be_a_reference"  # noqa: S105 - the code of a reason
    SECRET_MISSING = "secret_reference_leads_nowhere"  # noqa: S105 - the code of a reason
    SECRET_READABLE = "secret_file_readable_by_others"  # noqa: S105 - the code of a reason
    SUITE_UNKNOWN = "mls_suite_cannot_be_checked"
    TLS_REQUIRED = "tls_required_beyond_loopback"
    MLS_ROOT = "mls_root_refused"
    PUSH_HOST = "push_host_refused"
    PUSH_SUBJECT = "push_subject_missing"
    FILE_KEYSTORE_REFUSED = "file_key_store_is_for_dev_alone"


class SettingsError(OperationError[SettingsReason]):
    """The gateway does not start with these settings.

    ``hint`` says where and what, in our own words and key names; values are never repeated.
    """

    fault: ClassVar[Fault] = Fault.LOCAL

    def __init__(self, reason: SettingsReason, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.reason.text}: {self.hint}" if self.hint else self.reason.text


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the gateway listens."""

    host: str = "127.0.0.1"
    port: Port = 8480
    tls_certificate: str = ""
    tls_key: str = ""
    tls_minimum: Literal["1.2", "1.3"] = "1.3"


class Store(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where data lies and how long it stays."""

    folder: str = "letterlock-data"
    purge_every_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 30
    metadata_after_delivery_minutes: Annotated[int, msgspec.Meta(ge=1, le=10080)] = 10


class KeyStoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who holds the keys. ``file`` is for the environment ``dev`` alone."""

    driver: Literal["file"] = "file"
    passphrase: str = ""
    """A reference; empty: a root key file."""
    root_file: str = ""
    """The root key file, on another disk than the store; empty: beside the store."""


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What policy runs: a profile that is shipped, or a file."""

    profile: Name = "standard"
    file: str = ""


class Ledger(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The transparency log."""

    origin: Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[^\s+]+$")] = "letterlock.local/ledger"
    sign_every_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = 1000
    head_file: str = ""
    """The second place for signed heads; empty: beside the store, which is shown as such."""


class MlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which MLS cipher suites the relay takes (RFC 9420, section 17.1): in key packages, Welcomes and GroupInfos."""

    suites: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=65535)], ...], msgspec.Meta(min_length=1)] = (1,)

    rcc16_roots: tuple[str, ...] = ()
    """PEM files with the roots of RCS clients' certificates (GSMA RCC.16); without any, their groups are left alone."""

    def listed(self) -> frozenset[CipherSuite]:
        """The suites, each one that the parser knows how to check."""
        return frozenset(map(CipherSuite, self.suites))


class MailboxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much may wait in mailboxes; over it, nothing more is taken of a sender or a tenant."""

    sender_messages: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 50_000
    sender_mib: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 128
    tenant_messages: Annotated[int, msgspec.Meta(ge=1, le=1 << 32)] = 5_000_000
    tenant_mib: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)] = 16_384

    def limits(self) -> WaitingLimits:
        """As the writer takes them."""
        return WaitingLimits(self.sender_messages, self.sender_mib * MIB, self.tenant_messages, self.tenant_mib * MIB)


class Sms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The way out over SMPP 3.4. Without hosts there is no SMS route."""

    hosts: tuple[str, ...] = ()
    system_id: str = ""
    password: str = ""
    """A reference."""
    sender: str = ""
    window: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    tls: bool = True
    """Plain SMPP is accepted only towards loopback."""
    tls_ca: str = ""
    enquire_link_s: Annotated[int, msgspec.Meta(ge=1, le=600)] = 30


class PushSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Waking devices that are not connected, by Web Push. Without hosts there is none."""

    hosts: tuple[str, ...] = ()
    """Push services that may be gone to: ``fcm.googleapis.com``, or ``.notify.windows.com`` for all below a name."""
    subject: Annotated[str, msgspec.Meta(max_length=256, pattern=r"^$|^(mailto:|https://)\S+$")] = ""
    """How push services reach whoever runs this gateway."""


class Apns(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Waking devices by Apple's push service. Without a key there is none."""

    topic: Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[A-Za-z0-9.-]*$")] = ""
    """The app's bundle id."""
    team_id: Annotated[str, msgspec.Meta(pattern=r"^$|^[A-Z0-9]{10}$")] = ""
    key_id: Annotated[str, msgspec.Meta(pattern=r"^$|^[A-Z0-9]{10}$")] = ""
    key: str = ""
    """A reference to the key as Apple gives it (a .p8 file)."""
    host: str = "api.push.apple.com"
    """Or ``api.sandbox.push.apple.com`` for apps in development."""
    ca: str = ""
    """A file with the authority that is trusted instead; for a push service on this machine."""


class Fcm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Waking devices by Firebase Cloud Messaging. Without a service account there is none."""

    service_account: str = ""
    """A reference to the service account as Google's console gives it (a JSON file)."""
    host: str = "fcm.googleapis.com"


class TwilioService(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A messaging service of the Twilio-compatible face: what its messages are, and what happens at a step down."""

    sid: Annotated[str, msgspec.Meta(pattern=r"^MG[0-9a-f]{32}$")]
    tenant: Name = "default"
    traffic: Literal["conversation", "notification"] = "conversation"
    on_downgrade: Literal["ask", "hold", "refuse"] = "ask"


class Twilio(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The face for software written for Twilio's Messages API. Off unless it is asked for."""

    enabled: bool = False
    token_generation: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    """Raise it to replace the accounts' tokens; the ones before are good until it is raised again."""
    services: tuple[TwilioService, ...] = ()


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Events, not content."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings."""

    environment: Name = "dev"
    server: Server = Server()
    store: Store = Store()
    keystore: KeyStoreSettings = KeyStoreSettings()
    policy: PolicySettings = PolicySettings()
    ledger: Ledger = Ledger()
    mls: MlsSettings = MlsSettings()
    mailboxes: MailboxSettings = MailboxSettings()
    sms: Sms = Sms()
    push: PushSettings = PushSettings()
    apns: Apns = Apns()
    fcm: Fcm = Fcm()
    twilio: Twilio = Twilio()
    log: Log = Log()


_SECRETS: Final = (("keystore", "passphrase"), ("sms", "password"), ("apns", "key"), ("fcm", "service_account"))
_APNS_HOSTS: Final = frozenset({"api.push.apple.com", "api.sandbox.push.apple.com"})
_FCM_HOST: Final = "fcm.googleapis.com"


def load(path: Path | None) -> Settings:
    """The settings of a file, or the defaults.

    Raises:
        SettingsError: with the place in the file and what to do.
    """
    if path is None:
        return checked(Settings())
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text())
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise SettingsError(SettingsReason.NOT_FOUND, "give the path of a readable TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        at = str(error).rpartition("(at ")[2].rstrip(")") if "(at " in str(error) else "see the file"
        raise SettingsError(SettingsReason.NOT_TOML, at) from None
    return from_tree(tree)


def from_tree(tree: dict[str, Any]) -> Settings:
    """The settings of a parsed file.

    Raises:
        SettingsError: an unknown key, a wrong type or value, or a combination that is not safe.
    """
    try:
        return checked(msgspec.convert(tree, Settings))
    except msgspec.ValidationError as error:
        raise SettingsError(SettingsReason.INVALID, _own_words(str(error), tree)) from None


def checked(settings: Settings) -> Settings:
    """The same settings, if they are safe together.

    Raises:
        SettingsError: they are not.
    """
    for section, key in _SECRETS:
        value = getattr(getattr(settings, section), key)
        if value and not value.startswith(("env:", "file:")):
            raise SettingsError(SettingsReason.SECRET_INLINE, f"{section}.{key}: write env:NAME or file:/path")
    _check_push(settings)
    _check_root_file(settings)
    server = settings.server
    if not is_loopback(server.host) and not (server.tls_certificate and server.tls_key):
        raise SettingsError(SettingsReason.TLS_REQUIRED, "server.host: set server.tls_certificate and server.tls_key")
    if settings.environment != "dev":
        raise SettingsError(
            SettingsReason.FILE_KEYSTORE_REFUSED, "keystore.driver: its keys are in software; only for 'dev'"
        )
    if not set(settings.mls.suites) <= set(CipherSuite):
        hint = f"mls.suites: one of {', '.join(str(int(suite)) for suite in CipherSuite)} (RFC 9420, section 17.1)"
        raise SettingsError(SettingsReason.SUITE_UNKNOWN, hint)
    if settings.mls.rcc16_roots and CipherSuite.P256_AES128_SHA256_P256 not in settings.mls.suites:
        hint = "mls.rcc16_roots: RCS clients use suite 2; list it in mls.suites"
        raise SettingsError(SettingsReason.MLS_ROOT, hint)
    if not settings.sms.tls and not all(is_loopback(host.rpartition(":")[0]) for host in settings.sms.hosts):
        raise SettingsError(SettingsReason.TLS_REQUIRED, "sms.tls: plain SMPP only towards loopback")
    sids = [service.sid for service in settings.twilio.services]
    if len(set(sids)) != len(sids):
        raise SettingsError(SettingsReason.INVALID, "twilio.services: each sid once")
    return settings


def _check_root_file(settings: Settings) -> None:
    place = settings.keystore.root_file
    if not place:
        return
    if settings.keystore.passphrase:
        raise SettingsError(SettingsReason.INVALID, "keystore.root_file: with keystore.passphrase there is no root key")
    if Path(place).resolve().is_relative_to(Path(settings.store.folder).resolve()):
        hint = "keystore.root_file: outside store.folder, or whoever copies that folder has it"
        raise SettingsError(SettingsReason.INVALID, hint)


def _check_push(settings: Settings) -> None:
    push = settings.push
    try:
        hosts = HostList(push.hosts)
    except ValueError:
        hint = "push.hosts: names of push services, such as fcm.googleapis.com; no address, no port"
        raise SettingsError(SettingsReason.PUSH_HOST, hint) from None
    if hosts.local and settings.environment != "dev":
        raise SettingsError(SettingsReason.PUSH_HOST, "push.hosts: a push service on this machine is for 'dev' alone")
    if hosts and not push.subject:
        hint = "push.subject: mailto:... or https://..., which push services ask for (RFC 8292)"
        raise SettingsError(SettingsReason.PUSH_SUBJECT, hint)
    apns = settings.apns
    if apns.key and not (apns.topic and apns.team_id and apns.key_id):
        hint = "apns: topic, team_id and key_id belong to the key"
        raise SettingsError(SettingsReason.INVALID, hint)
    for name, host, known in (("apns", apns.host, _APNS_HOSTS), ("fcm", settings.fcm.host, {_FCM_HOST})):
        here = settings.environment == "dev" and is_loopback(host.rpartition(":")[0])
        if host not in known and not here:
            hint = f"{name}.host: {' or '.join(sorted(known))}; for 'dev' also this machine, with a port"
            raise SettingsError(SettingsReason.PUSH_HOST, hint)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its address or the name ``localhost``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def secret(reference: str) -> bytes:
    """What a reference leads to: one line.

    Raises:
        SettingsError: nothing is there, or others can read it.
    """
    found = secret_text(reference).split(b"\n", 1)[0]
    if not found:
        raise SettingsError(SettingsReason.SECRET_MISSING, "a file that settings name is empty")
    return found


def secret_text(reference: str) -> bytes:
    """What a reference leads to, all of it: a key in PEM, say.

    Raises:
        SettingsError: nothing is there, or others can read it.
    """
    kind, _, place = reference.partition(":")
    if kind == "env":
        value = os.environ.get(place, "")
        if not value:
            raise SettingsError(SettingsReason.SECRET_MISSING, "an environment variable that settings name is not set")
        return value.encode()
    path = Path(place)
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SettingsError(SettingsReason.SECRET_READABLE, "chmod 600 the file that settings name")
        found = path.read_bytes()[:MAX_SECRET]
    except OSError:
        raise SettingsError(SettingsReason.SECRET_MISSING, "a file that settings name cannot be read") from None
    if not found:
        raise SettingsError(SettingsReason.SECRET_MISSING, "a file that settings name is empty")
    return found


def _own_words(text: str, tree: dict[str, Any]) -> str:
    """Msgspec's message without the values of the file: only key names, which are no secrets."""
    what, mark, at = text.partition(" - at `$.")
    place = at.rstrip("`") if mark else ""
    if "unknown field" in what:
        name = what.partition("unknown field `")[2].partition("`")[0]
        return f"unknown key {place + '.' if place else ''}{name}; see `letterlock config explain --defaults`"
    del tree
    if what.startswith("Invalid enum value"):
        what = "not one of the permitted words"
    return f"{place or 'the file'}: {what}"
