"""Making the delivery service: its use cases, and the routes that lead to them."""

import os
from dataclasses import dataclass
from typing import Final

from letterlock.faces.http.devices import DeviceServices, device_routes
from letterlock.faces.http.routes import Route
from letterlock.model.clock import Clock
from letterlock.relay.accounts import Accounts
from letterlock.relay.directory import GroupDirectory, SessionDirectory
from letterlock.relay.groups import Groups
from letterlock.relay.key_packages import ClaimQuota, KeyPackages
from letterlock.relay.mailboxes import Mailboxes
from letterlock.relay.nonces import NonceBook
from letterlock.relay.ports import Committer, Delivery, HandshakePolicy, SealingKeys
from letterlock.relay.reports import Reports
from letterlock.relay.sessions import Sessions
from letterlock.storage.sqlite.relay_reads import RelayReads
from letterlock.watch.metrics import Metrics
from letterlock.wire.mls import CipherSuite

AUDIENCE: Final = "letterlock"
"""Who devices sign for; goes into every signature."""


@dataclass(frozen=True, slots=True)
class RelayParts:
    """The delivery service, made."""

    routes: tuple[Route, ...]
    mailboxes: Mailboxes


async def open_relay(
    committer: Committer,
    reads: RelayReads,
    sessions: SessionDirectory,
    groups: GroupDirectory,
    keys: SealingKeys,
    delivery: Delivery,
    policy: HandshakePolicy,
    clock: Clock,
    environment: str,
    suites: frozenset[CipherSuite],
    metrics: Metrics,
) -> RelayParts:
    """Makes it; live sessions are loaded before the first request."""
    accounts = Accounts(committer, reads, sessions, groups, environment, os.urandom)
    nonces = NonceBook(clock, os.urandom)
    logins = Sessions(committer, reads, sessions, nonces, clock, environment, AUDIENCE, os.urandom)
    await logins.load()
    packages = KeyPackages(committer, ClaimQuota(clock), clock, os.urandom, suites)
    ordering = Groups(committer, reads, groups, keys, delivery, policy, clock, os.urandom, suites)
    mailboxes = Mailboxes(committer, reads, keys, sessions, clock)
    reports = Reports(committer, reads, keys, environment, AUDIENCE, os.urandom, metrics.reported)
    services = DeviceServices(accounts, logins, packages, ordering, mailboxes, reports, environment, AUDIENCE)
    return RelayParts(device_routes(services), mailboxes)
