"""The composition root: every part is made here, by hand, with what it needs and nothing more."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from letterlock import __version__
from letterlock.app.clock import SystemClock
from letterlock.app.delivery_parts import open_deliveries
from letterlock.app.intents import resume_intents
from letterlock.app.keys import Keys, LedgerSigner, MarkerSigner, open_keys, secrets_folder
from letterlock.app.mls_roots import load_roots
from letterlock.app.open_parts import OpenParts, open_messages
from letterlock.app.push_parts import open_push
from letterlock.app.receipt_parts import open_receipts
from letterlock.app.relay_parts import open_relay
from letterlock.app.settings import Settings
from letterlock.app.twilio_parts import open_twilio
from letterlock.assurance.assess import Path as MessagePath
from letterlock.custody.message_ids import MessageIds
from letterlock.faces.http.app import HttpFace
from letterlock.faces.http.credentials import Credentials
from letterlock.faces.http.group_messages import GroupMessagesHandler
from letterlock.faces.http.mailbox_waits import MailboxWaits
from letterlock.faces.http.routes import Route
from letterlock.faces.http.stream import DeviceStream
from letterlock.faces.http.system import SystemRoutes
from letterlock.gateway.acks import AckCollector
from letterlock.gateway.hub import Hub
from letterlock.gateway.intervals import Intervals
from letterlock.gateway.ledger_store import LedgerStoreBridge
from letterlock.gateway.mail_pages import MailPages
from letterlock.gateway.maintenance import GenerationRows, Maintenance, Purger
from letterlock.gateway.paths import Paths
from letterlock.gateway.policies import Policies, Profiles
from letterlock.gateway.sealed import SealedAcceptor
from letterlock.gateway.tenants import Tenants
from letterlock.ledger.heads import FileHeadKeeper, HeadSigner
from letterlock.model.capability import Channel
from letterlock.model.traces import Traces
from letterlock.policy.file import profile_source
from letterlock.policy.proof import prove
from letterlock.relay.directory import GroupDirectory, SessionDirectory
from letterlock.storage.maintenance_commands import RecordEvent
from letterlock.storage.sqlite.attachment_reads import AttachmentReads
from letterlock.storage.sqlite.committer import GroupCommitter
from letterlock.storage.sqlite.connection import StoreLock
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.storage.sqlite.push_reads import PushReads
from letterlock.storage.sqlite.reader import Readers
from letterlock.storage.sqlite.registry import handlers
from letterlock.storage.sqlite.relay_reads import RelayReads
from letterlock.storage.sqlite.tenant_ops import all_tenants, live_api_keys
from letterlock.storage.tenant_commands import TenantRow
from letterlock.transports.registry import CAPABILITIES, GATEWAY_HOPS
from letterlock.watch.metrics import Metrics
from letterlock.wire.handshake.capabilities import key_digest
from letterlock.wire.tlog.commitments import Digest
from letterlock.wire.tlog.entries import GatewayStarted, MarkerKeys
from letterlock.wire.tlog.words import MarkerHop

VERIFIER_KEY: Final = "ledger.vkey"
HEAD_FILE: Final = "ledger-head.note"
DEFAULT_TENANT: Final = "default"
API_KEY_FILE: Final = "api-key"
INTERVALS_EVERY_S: Final = 1.0
"""How often the clock is looked at: an interval's entry is at most so late."""
_RELAY: Final = MessagePath.of(*[row for row in CAPABILITIES if row.channel is Channel.RELAY])

_log: Final = structlog.get_logger("letterlock.app")


@dataclass(slots=True)
class Gateway:
    """A running gateway: its face, and how to end it."""

    face: HttpFace
    lane: GroupMessagesHandler
    """Takes the ordinary requests of the hot route before they become tasks."""
    tenants: Tenants
    policies: Policies
    committer: GroupCommitter
    heads: HeadSigner
    maintenance: Maintenance
    purger: Purger
    keys: Keys
    clock: SystemClock
    drain: Callable[[], None]
    """Sends away whoever waits over HTTP: called when the server is asked to stop."""
    _closers: list[Callable[[], Awaitable[None] | None]]

    async def close(self) -> None:
        """Ends everything in the reverse order of its making; what was accepted is durable.

        Raises:
            Exception: the first that a part raised; the others are ended all the same.
        """
        await _close_all(self._closers)


async def _close_all(closers: list[Callable[[], Awaitable[None] | None]]) -> None:
    first: Exception | None = None
    for closer in reversed(closers):
        try:
            pending = closer()
            if pending is not None:
                await pending
        except Exception as error:  # noqa: BLE001 - the store's lock must be let go whatever fails before it
            first = first or error
    if first is not None:
        raise first


async def open_gateway(settings: Settings) -> Gateway:
    """Opens the store and everything on it, on the running event loop.

    Raises:
        LetterlockError: with the reason; nothing is left half open.
    """
    closers: list[Callable[[], Awaitable[None] | None]] = []
    try:
        return await _open(settings, closers)
    except BaseException:
        with suppress(Exception):
            await _close_all(closers)
        raise


def _core(settings: Settings, folder: Path, clock: SystemClock, id_key: bytes, traces: dict[int, Traces]) -> StoreCore:
    return StoreCore(
        folder,
        handlers(),
        clock,
        purge_after_ms=settings.store.metadata_after_delivery_minutes * 60_000,
        waiting=settings.mailboxes.limits(),
        order=MessageIds(id_key),
        traces=traces,
    )


async def _open(settings: Settings, closers: list[Callable[[], Awaitable[None] | None]]) -> Gateway:
    loop = asyncio.get_running_loop()
    clock = SystemClock()
    folder = Path(settings.store.folder)
    lock = StoreLock(folder)
    closers.append(lock.release)
    keys = open_keys(settings, folder)
    closers.append(keys.close)
    id_key = keys.derive(b"message ids")
    traces: dict[int, Traces] = {}
    committer = GroupCommitter(_core(settings, folder, clock, id_key, traces), loop)
    closers.append(committer.close)
    readers = Readers(folder)
    closers.append(readers.close)
    metrics = Metrics()
    metrics.watch_queue(lambda: committer.depth)
    committer.on_commit(metrics.ledger_size.set)

    # The first thing of all: a store that is behind a signed head must not grow by a single entry.
    ledger = LedgerStoreBridge(readers, committer, loop)
    heads = _heads(settings, folder, keys, ledger)
    await loop.run_in_executor(None, heads.start)
    profiles = await _profiles(settings, committer, clock, readers.read_now(all_tenants), traces)
    tenants = Tenants(committer, clock, readers.read_now(all_tenants), readers.read_now(live_api_keys), profiles.adopt)
    await _first_tenant(tenants, settings, folder)
    resumed = await resume_intents(committer, readers, keys, clock)
    await committer.run(RecordEvent(GatewayStarted(ts=clock.now_ms(), build=_build(), schema=1, resumed=resumed)))

    paths = await _paths(settings, committer, keys, clock)
    purger, maintenance = await _maintenance(settings, committer, keys, heads, clock)

    reads = RelayReads(readers)
    sessions = SessionDirectory(clock)
    groups = GroupDirectory(reads)
    credentials = Credentials(sessions, tenants)
    hub = Hub()
    acceptor = SealedAcceptor(
        _RELAY,
        profiles.policies,
        groups,
        committer,
        hub,
        lambda: keys.storage.current(clock.now_ms()),
        clock,
        MessageIds(id_key),
        id_key,
    )
    relay = await open_relay(
        committer, reads, AttachmentReads(readers), sessions, groups, keys.storage, hub, acceptor, clock,
        settings.environment, settings.mls.listed(), load_roots(settings.mls, clock.now_ms() // 1_000), metrics,
    )  # fmt: skip
    sessions.on_session_ended(hub.wake)
    relay.schedule(maintenance.add, settings.store.purge_every_s)
    push = await open_push(
        settings, committer, PushReads(readers), keys, hub, clock, metrics, maintenance.add,
        settings.store.purge_every_s, closers,
    )  # fmt: skip
    acks = AckCollector(committer, clock)
    closers.append(acks.flush)
    stream = DeviceStream(
        credentials,
        lambda: sessions.version,
        acceptor,
        acks,
        MailPages(reads, keys.storage),
        hub,
        clock,
        metrics,
        lambda: committer.busy,
        sessions.hear,
    )
    group_messages = GroupMessagesHandler(
        credentials, lambda: sessions.version, acceptor, sessions.hear, metrics.answered, metrics.submitted
    )
    opened = open_messages(
        committer, OpenReads(readers, MessageIds(id_key)), keys, profiles.policies, CAPABILITIES, heads, ledger,
        paths, metrics, clock, settings.environment, settings.sms, reads, hub.ask,
    )  # fmt: skip
    closers.append(opened.close)
    system = SystemRoutes(heads, ledger, metrics, CAPABILITIES, lambda: {"store": "ok", **opened.components()})
    routes = (
        *system.routes(),
        *relay.routes,
        *push,
        *open_deliveries(
            _RELAY,
            profiles.policies,
            readers,
            committer,
            hub,
            lambda: keys.storage.current(clock.now_ms()),
            clock,
            id_key,
            maintenance.add,
            settings.store.purge_every_s,
        ),
        *MailboxWaits(relay.mailboxes, hub, credentials, clock, metrics.connected, metrics.delivered).routes(),
        group_messages.route(),
        *open_receipts(committer, readers, id_key, settings.environment, metrics, closers),
        *opened.routes,
    )
    face = _face(
        settings, keys, tenants, credentials, opened, committer, readers, id_key, clock, metrics, system, routes,
        group_messages, stream,
    )  # fmt: skip
    maintenance.add("held_messages", settings.store.purge_every_s, opened.held.look)
    await opened.start()
    maintenance.start()
    closers.append(maintenance.stop)
    return Gateway(
        face,
        group_messages,
        tenants,
        profiles.policies,
        committer,
        heads,
        maintenance,
        purger,
        keys,
        clock,
        hub.close,
        closers,
    )


def _face(
    settings: Settings,
    keys: Keys,
    tenants: Tenants,
    credentials: Credentials,
    opened: OpenParts,
    committer: GroupCommitter,
    readers: Readers,
    id_key: bytes,
    clock: SystemClock,
    metrics: Metrics,
    system: SystemRoutes,
    routes: tuple[Route, ...],
    group_messages: GroupMessagesHandler,
    stream: DeviceStream,
) -> HttpFace:
    """All operations behind one door, those in the manner of other APIs too."""
    reads = OpenReads(readers, MessageIds(id_key))
    twilio = open_twilio(settings, keys, tenants, credentials, opened.messages, committer, reads, clock, metrics)
    every = (*routes, *twilio.routes)
    system.describe(every)
    return HttpFace(
        every,
        credentials,
        group_messages=group_messages,
        websocket=stream,
        observe=metrics.answered,
        mounted=twilio.mounted,
    )


async def _maintenance(
    settings: Settings, committer: GroupCommitter, keys: Keys, heads: HeadSigner, clock: SystemClock
) -> tuple[Purger, Maintenance]:
    """What runs beside the messages; intervals of the ledger that a former run left open are closed first."""
    purger = Purger(committer, clock)
    maintenance = Maintenance(
        purger,
        keys.storage,
        GenerationRows(committer, asyncio.get_running_loop()),
        heads,
        clock,
        purge_every_s=settings.store.purge_every_s,
        sign_every_s=settings.ledger.sign_every_ms / 1000,
    )
    intervals = Intervals(committer, clock)
    await intervals.resume()
    maintenance.add("intervals", INTERVALS_EVERY_S, intervals.look)
    return purger, maintenance


async def _paths(settings: Settings, committer: GroupCommitter, keys: Keys, clock: SystemClock) -> Paths:
    """What signs markers; its public keys enter the ledger at each start, before anything is signed with them."""
    signers = {hop: MarkerSigner(keys.keystore, hop) for hop in MarkerHop}
    digests = {hop: Digest(key_digest(signer.public.encode())) for hop, signer in signers.items()}
    entry = MarkerKeys(ts=clock.now_ms(), accept=digests[MarkerHop.ACCEPT], dispatch=digests[MarkerHop.DISPATCH])
    index: int = await committer.run(RecordEvent(entry))
    return Paths(settings.ledger.origin, settings.environment, signers, index, CAPABILITIES, GATEWAY_HOPS)


def _build() -> Digest:
    return Digest(sha256(f"letterlock {__version__}".encode()).digest())


def _heads(settings: Settings, folder: Path, keys: Keys, ledger: LedgerStoreBridge) -> HeadSigner:
    head_file = Path(settings.ledger.head_file) if settings.ledger.head_file else folder / HEAD_FILE
    signer = LedgerSigner(keys.keystore, settings.ledger.origin)
    # The public half, for everybody who verifies offline; it is no secret, and a copy belongs in another place.
    (folder / VERIFIER_KEY).write_text(f"{signer.verifier_key}\n")
    return HeadSigner(ledger, signer, FileHeadKeeper(head_file))


async def _profiles(
    settings: Settings,
    committer: GroupCommitter,
    clock: SystemClock,
    tenants: list[TenantRow],
    traces: dict[int, Traces],
) -> Profiles:
    """Puts the policy of the settings in force, and the profiles of tenants that have another; each is recorded."""
    file = settings.policy.file
    default = prove(Path(file).read_text() if file else profile_source(settings.policy.profile), CAPABILITIES)
    profiles = Profiles(committer, clock, CAPABILITIES, settings.policy.profile, default, traces)
    for row in tenants:
        await profiles.adopt(row)
    await profiles.load(default)
    return profiles


async def _first_tenant(tenants: Tenants, settings: Settings, folder: Path) -> None:
    """An empty store gets a tenant and one API key, whose secret goes into a file that only the owner reads."""
    if tenants.all():
        return
    tenant = await tenants.add(DEFAULT_TENANT, settings.policy.profile)
    _, secret = await tenants.add_key(tenant.no)
    path = secrets_folder(settings, folder) / API_KEY_FILE
    path.touch(mode=0o600)
    path.write_text(secret + "\n")
    _log.info("tenant_created", hint="the API key of the first tenant is in the file api-key beside root.key")
