"""Making the way of readable messages: use cases, the SMS link where there is one, and the routes."""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from letterlock.app.keys import Keys
from letterlock.app.settings import SettingsError, SettingsReason, Sms, secret
from letterlock.faces.http.challenges import ChallengeRoutes
from letterlock.faces.http.device_challenges import device_challenge_routes
from letterlock.faces.http.messages import MessageRoutes
from letterlock.faces.http.routes import Route
from letterlock.faces.http.toggles import toggle_routes
from letterlock.gateway.consents import Consents
from letterlock.gateway.device_answers import Accounts, DeviceAnswers
from letterlock.gateway.dispatcher import Dispatcher
from letterlock.gateway.held import HeldMessages
from letterlock.gateway.open_messages import OpenMessages
from letterlock.gateway.paths import Paths
from letterlock.gateway.policies import Policies
from letterlock.gateway.questions import QuestionBook
from letterlock.gateway.receipts import Receipts
from letterlock.gateway.security import Assessments
from letterlock.gateway.toggles import Toggles
from letterlock.ledger.heads import HeadSigner
from letterlock.ledger.ports import LedgerReads
from letterlock.model.capability import CapabilityRow, Channel
from letterlock.model.clock import Clock
from letterlock.policy.facts import Ways
from letterlock.storage.sqlite.committer import GroupCommitter
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.transports.smpp import Endpoint, LinkFault, LinkState, SmppClient, SmppConfig
from letterlock.watch.metrics import Metrics
from letterlock.wire.sms.address import sender_address
from letterlock.wire.sms.errors import AddressError
from letterlock.wire.sms.session import Timers

DEFAULT_PORT: Final = 2775
"""SMPP's registered port."""
MAX_PASSWORD: Final = 8
MAX_SYSTEM_ID: Final = 15
_log: Final = structlog.get_logger("letterlock.sms")


@dataclass(frozen=True, slots=True)
class OpenParts:
    """The way of readable messages, made."""

    routes: tuple[Route, ...]
    components: Callable[[], dict[str, str]]
    start: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    held: HeldMessages
    messages: OpenMessages


def open_messages(
    committer: GroupCommitter,
    reads: OpenReads,
    keys: Keys,
    policies: Policies,
    capabilities: tuple[CapabilityRow, ...],
    heads: HeadSigner,
    ledger: LedgerReads,
    paths: Paths,
    metrics: Metrics,
    clock: Clock,
    environment: str,
    sms: Sms,
    accounts: Accounts,
    asked: Callable[[Sequence[int]], None],
) -> OpenParts:
    """Makes it, on the running loop. Nothing is sent before ``start``.

    Raises:
        SettingsError: a secret that settings name is not there.
    """
    assessments = Assessments(capabilities)
    key = keys.derive(b"readable messages")
    questions = QuestionBook(policies, capabilities, assessments, environment, keys.derive(b"questions"))
    dispatcher, client = _link(committer, keys, policies, metrics, clock, sms)

    def queued() -> None:
        if dispatcher is not None:
            dispatcher.wake()

    ways = Ways.of(Channel.SMS) if dispatcher is not None else Ways.of()
    held = HeldMessages(committer, reads, policies, assessments, questions, ways, clock, metrics, queued)
    messages = OpenMessages(
        committer,
        reads,
        keys.vault,
        policies,
        assessments,
        questions,
        lambda: keys.storage.current(clock.now_ms()),
        ways,
        clock,
        key,
        metrics,
        queued,
        asked,
    )
    consents = Consents(committer, reads, keys.vault, policies, questions, keys.storage, clock, key, metrics, queued)

    async def start() -> None:
        if dispatcher is not None and client is not None:
            client.start()
            dispatcher.start()
            await held.look()

    async def close() -> None:
        if dispatcher is not None and client is not None:
            await dispatcher.stop()
            await client.close()

    routes = (
        *MessageRoutes(messages, reads, assessments, heads, ledger, paths, clock).routes(),
        *ChallengeRoutes(consents).routes(),
        *toggle_routes(Toggles(committer, reads, keys.vault, policies, clock)),
        *device_challenge_routes(DeviceAnswers(reads, accounts, questions, consents, keys.storage, clock)),
    )
    return OpenParts(
        routes, lambda: {} if dispatcher is None else {"sms": dispatcher.health}, start, close, held, messages
    )


def _link(
    committer: GroupCommitter, keys: Keys, policies: Policies, metrics: Metrics, clock: Clock, sms: Sms
) -> tuple[Dispatcher | None, SmppClient | None]:
    if not sms.hosts:
        return None, None
    key = keys.derive(b"remote ids")

    def observe(outcome: str) -> None:
        metrics.message(Channel.SMS.value, "CLEAR", outcome)

    def on_link(state: LinkState, fault: LinkFault | None) -> None:
        _log.info("sms_link", state=state.value, reason=None if fault is None else fault.value)
        dispatcher.wake()

    receipts = Receipts(committer, clock, key, observe)
    client = SmppClient(_config(sms), receipts.on_receipt, receipts.on_inbound, clock, on_link=on_link)
    dispatcher = Dispatcher(
        committer, client, policies, keys.storage, clock, sender=sms.sender, window=sms.window, key=key, observe=observe
    )
    return dispatcher, client


def _config(sms: Sms) -> SmppConfig:
    """The link's settings.

    Raises:
        SettingsError: what SMPP 3.4 (section 4.1) cannot carry, said at the start and not when the link fails.
    """
    try:
        password = secret(sms.password).decode("ascii") if sms.password else ""
    except UnicodeDecodeError:
        raise SettingsError(SettingsReason.INVALID, "sms.password: ASCII only (SMPP 3.4)") from None
    if len(password) > MAX_PASSWORD or not 1 <= len(sms.system_id) <= MAX_SYSTEM_ID:
        hint = f"sms.password has at most {MAX_PASSWORD} characters, sms.system_id 1 to {MAX_SYSTEM_ID} (SMPP 3.4)"
        raise SettingsError(SettingsReason.INVALID, hint)
    try:
        if sms.sender:
            sender_address(sms.sender)
    except AddressError:
        hint = "sms.sender: a number with '+', a short code, or a name of at most 11 letters and digits"
        raise SettingsError(SettingsReason.INVALID, hint) from None
    tls = ssl.create_default_context(cafile=sms.tls_ca or None) if sms.tls else None
    return SmppConfig(
        endpoints=tuple(_endpoint(host) for host in sms.hosts),
        system_id=sms.system_id,
        password=password,
        tls=tls,
        timers=Timers(window=sms.window, enquire_ms=sms.enquire_link_s * 1000),
        patience_ms=0,
    )


def _endpoint(text: str) -> Endpoint:
    host, mark, port = text.rpartition(":")
    if mark and port.isdigit() and "]" not in port:
        return Endpoint(host.strip("[]"), int(port))
    return Endpoint(text.strip("[]"), DEFAULT_PORT)
