"""Making the delivery service: its use cases, and the routes that lead to them."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from letterlock.faces.http.attachments import attachment_routes
from letterlock.faces.http.devices import DeviceServices, device_routes
from letterlock.faces.http.handshakes import handshake_routes
from letterlock.faces.http.routes import Route
from letterlock.model.clock import Clock
from letterlock.relay.accounts import Accounts
from letterlock.relay.attachments import AttachmentReads, Attachments
from letterlock.relay.claim_quota import ClaimQuota
from letterlock.relay.directory import GroupDirectory, SessionDirectory
from letterlock.relay.groups import Groups
from letterlock.relay.handshake_reports import HandshakeReports
from letterlock.relay.key_packages import KeyPackages
from letterlock.relay.mailboxes import Mailboxes
from letterlock.relay.nonces import NonceBook
from letterlock.relay.ports import Committer, Delivery, HandshakePolicy, SealingKeys
from letterlock.relay.quota import LOOK_EVERY_S, MailboxQuota
from letterlock.relay.reports import Reports
from letterlock.relay.sessions import Sessions
from letterlock.storage.sqlite.relay_reads import RelayReads
from letterlock.watch.metrics import Metrics
from letterlock.wire.mls import CipherSuite
from letterlock.wire.mls.group import Root

Schedule = Callable[[str, float, Callable[[], Awaitable[object]]], None]
"""Takes a name, a rhythm in seconds, and what to do."""
SWEEP_EVERY_S: Final = 3600
"""Seconds between two looks for overfull mailboxes and leftovers."""
AUDIENCE: Final = "letterlock"
"""Who devices sign for; goes into every signature."""


@dataclass(frozen=True, slots=True)
class RelayParts:
    """The delivery service, made."""

    routes: tuple[Route, ...]
    mailboxes: Mailboxes
    attachments: Attachments
    quota: MailboxQuota

    def schedule(self, add: Schedule, purge_every_s: float) -> None:
        """Names the periodic work."""
        add("mailboxes", purge_every_s, self.mailboxes.purge)
        add("attachments", purge_every_s, self.attachments.purge)
        add("mailbox_quota", LOOK_EVERY_S, self.quota.look)
        add("mailbox_counters", SWEEP_EVERY_S, self.quota.look_anyway)
        add("mailbox_sweep", SWEEP_EVERY_S, self.mailboxes.sweep)


async def open_relay(
    committer: Committer,
    reads: RelayReads,
    attachment_reads: AttachmentReads,
    sessions: SessionDirectory,
    groups: GroupDirectory,
    keys: SealingKeys,
    delivery: Delivery,
    policy: HandshakePolicy,
    clock: Clock,
    environment: str,
    suites: frozenset[CipherSuite],
    roots: tuple[Root, ...],
    metrics: Metrics,
) -> RelayParts:
    """Makes it; live sessions are loaded before the first request."""
    accounts = Accounts(committer, reads, sessions, groups, environment, os.urandom)
    nonces = NonceBook(clock, os.urandom)
    logins = Sessions(committer, reads, sessions, nonces, clock, environment, AUDIENCE, os.urandom)
    await logins.load()
    packages = KeyPackages(
        committer, ClaimQuota(clock), clock, os.urandom, suites, delivery.low, metrics.last_resort
    )  # fmt: skip
    ordering = Groups(committer, reads, groups, keys, delivery, policy, clock, os.urandom, suites, roots)
    mailboxes = Mailboxes(committer, reads, keys, sessions, clock)
    attachments = Attachments(committer, reads, attachment_reads, keys, clock, os.urandom)
    reports = Reports(committer, reads, keys, environment, AUDIENCE, os.urandom, metrics.reported)
    services = DeviceServices(accounts, logins, packages, ordering, mailboxes, reports, environment, AUDIENCE)
    told = HandshakeReports(committer, reads, clock, environment, AUDIENCE, os.urandom)
    routes = (*device_routes(services), *attachment_routes(attachments), *handshake_routes(told))
    return RelayParts(routes, mailboxes, attachments, MailboxQuota(committer, reads))
