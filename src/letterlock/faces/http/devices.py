"""The routes of devices (docs/protocol/devices.md, sections 1 to 5 and 7): JSON in, a use case, JSON out."""

from dataclasses import dataclass
from typing import Final, Literal

from letterlock.assurance.group_report import GroupReport
from letterlock.faces.http import device_schemas as s
from letterlock.faces.http.device_calls import caller_of as _caller
from letterlock.faces.http.device_calls import guard as _guard
from letterlock.faces.http.device_calls import number_parameter as _number_parameter
from letterlock.faces.http.device_calls import own_device as _own
from letterlock.faces.http.device_calls import path_id as _id
from letterlock.faces.http.device_calls import problems as _problems
from letterlock.faces.http.device_calls import query_number as _number
from letterlock.faces.http.routes import Access, Answer, Call, DevicePrincipal, Route
from letterlock.model.ids import AccountId, DeviceId, GroupRef, TenantId
from letterlock.relay.accounts import Accounts
from letterlock.relay.bundle import Bundle, Welcome
from letterlock.relay.errors import RelayError
from letterlock.relay.groups import Groups
from letterlock.relay.key_packages import KeyPackages
from letterlock.relay.limits import ITEMS_PER_PAGE, MAX_BUNDLE, MAX_KEY_PACKAGE, MAX_KEY_PACKAGES_PUT, MAX_STATE_COUNTER
from letterlock.relay.mailboxes import Item, Mailboxes
from letterlock.relay.reports import Reports
from letterlock.relay.sessions import Sessions
from letterlock.storage.codes import GRADES, PROTECTIONS, VERIFIERS
from letterlock.storage.relay_commands import GroupStanding, RelayReason
from letterlock.storage.relay_rows import MemberRow, Tracking
from letterlock.wire.stream import ItemKind

MAX_LIST_BODY: Final = 96 << 10
"""A signed list of 65,606 bytes in base64, and its frame of JSON."""
MAX_PACKAGES_BODY: Final = 2 * MAX_KEY_PACKAGES_PUT * MAX_KEY_PACKAGE
DEFAULT_PAGE: Final = 100

_R = RelayReason


@dataclass(frozen=True, slots=True)
class DeviceServices:
    """The use cases behind the routes, and the names that go into signatures."""

    accounts: Accounts
    sessions: Sessions
    key_packages: KeyPackages
    groups: Groups
    mailboxes: Mailboxes
    reports: Reports
    environment: str
    audience: str


def _tenant(call: Call) -> tuple[int, TenantId]:
    principal = call.principal
    assert principal is not None, "the route's access has made sure of a caller"
    return principal.tenant, principal.tenant_id


def _member(row: MemberRow) -> s.Member:
    return s.Member(str(AccountId(row.account)), str(DeviceId(row.device)))


def item_answer(item: Item) -> s.MailboxItem:
    """An item as it goes over HTTP."""
    row = item.row
    return s.MailboxItem(
        sequence=row.sequence,
        kind=ItemKind(row.kind).name.lower(),
        group=str(GroupRef(row.group)) if row.group else "",
        message_id="msg_" + row.message_id.hex(),
        accepted_ms=row.accepted_ms,
        protection=PROTECTIONS[row.protection].value,
        grade=GRADES[row.grade].value,
        verifier=VERIFIERS[row.verifier].value,
        body=item.body,
    )


class _Handlers:
    """One method a route."""

    def __init__(self, services: DeviceServices) -> None:
        self._services = services
        self._accounts = services.accounts
        self._sessions = services.sessions
        self._packages = services.key_packages
        self._groups = services.groups
        self._mailboxes = services.mailboxes
        self._reports = services.reports

    async def create_account(self, call: Call) -> Answer:
        tenant, tenant_id = _tenant(call)
        account, created = await self._accounts.create(tenant, call.body.identity_key)
        services = self._services
        answer = s.AccountAnswer(str(account), str(tenant_id), services.environment, services.audience)
        return Answer(201 if created else 200, answer)

    async def publish_list(self, call: Call) -> Answer:
        tenant, tenant_id = _tenant(call)
        account = _id(AccountId, call.path["account_id"])
        if isinstance(call.principal, DevicePrincipal) and call.principal.account != account.value:
            raise RelayError(RelayReason.NOT_FOUND)
        done = await self._accounts.publish(tenant, tenant_id, account, call.body.device_list)
        return Answer(200 if done.repeated else 201, s.ListAnswer(done.version, done.digest, done.leaf_hash))

    async def lists(self, call: Call) -> Answer:
        tenant, _ = _tenant(call)
        account = _id(AccountId, call.path["account_id"])
        found = await self._accounts.lists(tenant, account, _number(call, "since", 0, 0, MAX_STATE_COUNTER))
        versions = [s.ListedVersion(row.version, row.signed, row.leaf_hash) for row in found.versions]
        return Answer(200, s.ListsAnswer(str(account), found.identity_key, found.current_version, versions))

    async def nonce(self, call: Call) -> Answer:
        return Answer(200, s.NonceAnswer(*self._sessions.nonce(_id(DeviceId, call.path["device_id"]))))

    async def log_in(self, call: Call) -> Answer:
        body: s.NewSession = call.body
        device = _id(DeviceId, call.path["device_id"])
        made = await self._sessions.log_in(device, body.nonce, body.state_counter, body.signature)
        answer = s.SessionAnswer(
            made.token, made.expires_ms, made.acknowledged, made.head, made.lost, made.key_packages
        )
        return Answer(201, answer)

    async def log_out(self, call: Call) -> Answer:
        device = _own(call)
        await self._sessions.log_out(device.tenant, device.mailbox, device.token_hash)
        return Answer(204)

    async def put_packages(self, call: Call) -> Answer:
        device = _own(call)
        packages = [(one.key_package, one.last_resort) for one in call.body.packages]
        kept = await self._packages.put(device.tenant, device.mailbox, packages)
        answer = s.KeyPackagesAnswer(kept.accepted, kept.duplicates, kept.available, kept.has_last_resort)
        return Answer(200, answer)

    async def clear_packages(self, call: Call) -> Answer:
        device = _own(call)
        await self._packages.clear(device.tenant, device.mailbox)
        return Answer(204)

    async def claim(self, call: Call) -> Answer:
        device = call.device
        account = _id(AccountId, call.path["account_id"])
        wanted = None if call.body.devices is None else [DeviceId.parse(text) for text in call.body.devices]
        found = await self._packages.claim(device.tenant, device.mailbox, device.account, account, wanted)
        answer = s.ClaimAnswer(
            account_id=str(account),
            identity_key=found.identity_key,
            device_list=found.signed,
            version=found.version,
            leaf_hash=found.leaf_hash,
            packages=[
                s.ClaimedPackageAnswer(str(DeviceId(one.device)), one.package, one.last_resort)
                for one in found.packages
            ],
            exhausted=[str(DeviceId(device)) for device in found.exhausted],
        )
        return Answer(200, answer)

    async def create_group(self, call: Call) -> Answer:
        body: s.NewGroup = call.body
        old = None if body.replaces is None else GroupRef.parse(body.replaces)
        ref, chain, created = await self._groups.create(_caller(call), body.group_id, body.epoch, old)
        return Answer(201 if created else 200, s.GroupAnswer(str(ref), body.epoch, chain))

    async def commit(self, call: Call) -> Answer:
        bundle = self._bundle(call)
        done = await self._groups.commit(_caller(call), _id(GroupRef, call.path["group"]), bundle)
        return Answer(201, s.CommitAnswer(done.epoch, done.chain, done.record_hash))

    async def advance_era(self, call: Call) -> Answer:
        bundle = self._bundle(call)
        made = await self._groups.advance_era(_caller(call), _id(GroupRef, call.path["group"]), bundle)
        done = made.commit
        answer = s.EraAnswer(str(GroupRef(made.ref)), made.era, done.epoch, done.chain, done.record_hash)
        return Answer(201, answer)

    def _bundle(self, call: Call) -> Bundle:
        body: s.NewCommit = call.body
        self._sessions.hear(call.device.mailbox, body.state_counter)
        return Bundle(
            group_id=body.group_id,
            base_epoch=body.base_epoch,
            commit=body.commit,
            welcomes=[Welcome(_devices(one.recipients), one.welcome) for one in body.welcomes],
            group_info=body.group_info,
            adds=_devices(body.adds),
            removes=_devices(body.removes),
            idempotency_key=body.idempotency_key,
            state_counter=body.state_counter,
        )

    async def group(self, call: Call) -> Answer:
        ref = _id(GroupRef, call.path["group"])
        row, members = await self._groups.look(_caller(call), ref)
        listed = [_member(one) for one in members]
        found = row.quarantined
        over = None if found is None else s.QuarantineAnswer(found.base_epoch, found.commit_hash, found.since_ms)
        later = row.superseded
        after = None if later is None else s.SupersededAnswer(str(GroupRef(later.ref)), later.era)
        answer = s.GroupStateAnswer(
            str(ref), row.group_id, row.epoch, row.chain, listed, _tracking(row.tracking), over, row.era, after
        )
        return Answer(200, answer)

    async def anchor(self, call: Call) -> Answer:
        body: s.NewAnchor = call.body
        row = await self._groups.anchor(_caller(call), _id(GroupRef, call.path["group"]), body.group_info)
        return Answer(200, _tracking(row.tracking))

    async def report(self, call: Call) -> Answer:
        body: s.NewReport = call.body
        report = GroupReport(_id(GroupRef, call.path["group"]), body.base_epoch, body.sequence, body.commit_hash)
        done = await self._reports.take(_caller(call), call.device.device_id, report, body.signature)
        return Answer(200, s.ReportAnswer(done.accounts, done.quarantined))

    async def commits(self, call: Call) -> Answer:
        ref = _id(GroupRef, call.path["group"])
        from_epoch = _number(call, "from_epoch", 0, 0, MAX_STATE_COUNTER)
        logged = await self._groups.commits(_caller(call), ref, from_epoch)
        commits = [
            s.LoggedCommitAnswer(
                one.row.base_epoch,
                one.commit,
                [_member(row) for row in one.row.adds],
                [_member(row) for row in one.row.removes],
                one.row.chain,
            )
            for one in logged
        ]
        return Answer(200, s.CommitsAnswer(commits))

    async def mailbox(self, call: Call) -> Answer:
        device = _own(call)
        after = _number(call, "after", 0, 0, 2**32 - 1)
        limit = _number(call, "limit", DEFAULT_PAGE, 1, ITEMS_PER_PAGE)
        page = await self._mailboxes.page(device.tenant_id, device.mailbox, after, limit)
        return Answer(200, s.MailboxAnswer([item_answer(item) for item in page.items], page.head))

    async def acknowledge(self, call: Call) -> Answer:
        device, body = _own(call), call.body
        self._sessions.hear(device.mailbox, body.state_counter)
        acked = await self._mailboxes.acknowledge(device.tenant, device.mailbox, body.through, body.state_counter)
        return Answer(200, s.AcknowledgedAnswer(acked))

    async def reset(self, call: Call) -> Answer:
        device = _own(call)
        self._sessions.hear(device.mailbox, call.body.state_counter)
        acked = await self._mailboxes.reset(device.tenant, device.mailbox, call.body.state_counter)
        return Answer(200, s.AcknowledgedAnswer(acked))


def _devices(texts: list[str]) -> list[DeviceId]:
    return [DeviceId.parse(text) for text in texts]


def _tracking(found: Tracking | None) -> s.TrackingAnswer:
    if found is None:
        return s.TrackingAnswer("not_followed", 0, 0)
    return s.TrackingAnswer(_STANDINGS[found.standing], found.epoch, found.gaps)


_STANDINGS: Final[dict[GroupStanding, Literal["followed", "lowered", "lost"]]] = {
    GroupStanding.FOLLOWED: "followed",
    GroupStanding.LOWERED: "lowered",
    GroupStanding.LOST: "lost",
}


def device_routes(services: DeviceServices) -> tuple[Route, ...]:
    """The entries of the route table for accounts, devices, groups and mailboxes."""
    do = _Handlers(services)
    account, device, group = "/v1/accounts/{account_id}", "/v1/devices/{device_id}", "/v1/groups/{group}"
    own = (_R.NOT_FOUND, _R.NOT_YOUR_DEVICE)
    member = (_R.NOT_FOUND, _R.NOT_A_MEMBER)
    bundled = (
        *member, _R.SESSION_ENDED, _R.IDEMPOTENCY_CONFLICT, _R.GROUP_QUARANTINED, _R.WRONG_ERA, _R.BAD_COMMIT,
        _R.EXTERNAL_COMMIT, _R.MAILBOX_QUOTA, _R.BAD_WELCOME, _R.BAD_GROUP_INFO, _R.SUITE_NOT_ALLOWED,
        _R.BORN_DOWNGRADED, _R.BAD_MEMBERS,
    )  # fmt: skip
    return (
        Route(
            "POST", "/v1/accounts", "createAccount", "Create an account by its identity key.",
            Access.TENANT_DEVICES, _guard(do.create_account), s.NewAccount,
            {201: s.AccountAnswer, 200: s.AccountAnswer}, _problems(_R.BAD_KEY),
        ),
        Route(
            "POST", f"{account}/devices", "publishDeviceList", "Publish the next version of the signed device list.",
            Access.DEVICE_OR_DEVICES_KEY, _guard(do.publish_list), s.NewDeviceList,
            {201: s.ListAnswer, 200: s.ListAnswer},
            _problems(
                _R.NOT_FOUND, _R.BAD_DEVICE_LIST, _R.WRONG_ACCOUNT, _R.BAD_SIGNATURE, _R.DEVICE_LIST_VERSION,
                _R.DEVICE_EXISTS, _R.DEVICE_RETIRED,
            ),
            max_body=MAX_LIST_BODY,
        ),
        Route(
            "GET", f"{account}/device-list", "getDeviceLists", "The versions of an account's device list.",
            Access.DEVICE_OR_DEVICES_KEY, _guard(do.lists), None, {200: s.ListsAnswer}, _problems(_R.NOT_FOUND),
            (_number_parameter("since", "Only versions after this one.", 0, MAX_STATE_COUNTER),),
        ),
        Route(
            "POST", f"{device}/session/nonce", "createNonce", "A nonce for a login.",
            Access.PUBLIC, _guard(do.nonce), None, {200: s.NonceAnswer}, _problems(_R.NOT_FOUND),
        ),
        Route(
            "POST", f"{device}/session", "createSession", "Log in: prove the session key and the state counter.",
            Access.PUBLIC, _guard(do.log_in), s.NewSession, {201: s.SessionAnswer},
            _problems(_R.NOT_FOUND, _R.SESSION_REFUSED, _R.STATE_ROLLED_BACK),
        ),
        Route(
            "DELETE", f"{device}/session", "endSession", "End this session.",
            Access.DEVICE, _guard(do.log_out), None, {204: None}, _problems(*own),
        ),
        Route(
            "PUT", f"{device}/key-packages", "putKeyPackages", "Add key packages to this device's pool.",
            Access.DEVICE, _guard(do.put_packages), s.NewKeyPackages, {200: s.KeyPackagesAnswer},
            _problems(
                *own, _R.SESSION_ENDED, _R.BAD_KEY_PACKAGE, _R.SUITE_NOT_ALLOWED, _R.LEAF_NOT_LISTED,
                _R.TOO_MANY_KEY_PACKAGES,
            ),
            max_body=MAX_PACKAGES_BODY,
        ),
        Route(
            "DELETE", f"{device}/key-packages", "clearKeyPackages", "Empty this device's pool of key packages.",
            Access.DEVICE, _guard(do.clear_packages), None, {204: None}, _problems(*own, _R.SESSION_ENDED),
        ),
        Route(
            "POST", f"{account}/key-packages/claim", "claimKeyPackages", "Claim one key package of each device.",
            Access.DEVICE, _guard(do.claim), s.Claim, {200: s.ClaimAnswer},
            _problems(_R.NOT_FOUND, _R.SESSION_ENDED, _R.CLAIM_QUOTA),
        ),
        Route(
            "POST", "/v1/groups", "createGroup", "Register a group with its creator alone.",
            Access.DEVICE, _guard(do.create_group), s.NewGroup, {201: s.GroupAnswer, 200: s.GroupAnswer},
            _problems(
                *member, _R.SESSION_ENDED, _R.BAD_EPOCH, _R.GROUP_EXISTS, _R.NOT_QUARANTINED
            ),
        ),
        Route(
            "POST", f"{group}/commits", "commitGroup", "Commit to a group: accepted only on the current epoch.",
            Access.DEVICE, _guard(do.commit), s.NewCommit, {201: s.CommitAnswer},
            _problems(*bundled, _R.WRONG_EPOCH),
            max_body=MAX_BUNDLE,
        ),
        Route(
            "POST", f"{group}/eras", "advanceEra", "Make an RCS group again, with all its members, as its next era.",
            Access.DEVICE, _guard(do.advance_era), s.NewCommit, {201: s.EraAnswer},
            _problems(*bundled, _R.BAD_EPOCH, _R.ERA_UNKNOWN, _R.ERA_QUOTA),
            max_body=MAX_BUNDLE,
        ),
        Route(
            "POST", f"{group}/anchor", "anchorGroup", "Follow a group's public state from a GroupInfo of its head.",
            Access.DEVICE, _guard(do.anchor), s.NewAnchor, {200: s.TrackingAnswer},
            _problems(*member, _R.SESSION_ENDED, _R.WRONG_ERA, _R.BAD_GROUP_INFO, _R.SUITE_NOT_ALLOWED),
            max_body=MAX_BUNDLE,
        ),
        Route(
            "POST", f"{group}/reports", "reportCommit", "Report a commit that this device cannot take.",
            Access.DEVICE, _guard(do.report), s.NewReport, {200: s.ReportAnswer},
            _problems(*member, _R.SESSION_ENDED, _R.BAD_REPORT, _R.REPORT_STALE, _R.REPORT_QUOTA),
        ),
        Route(
            "GET", group, "getGroup", "Where a group stands, for its members.",
            Access.DEVICE, _guard(do.group), None, {200: s.GroupStateAnswer}, _problems(*member),
        ),
        Route(
            "GET", f"{group}/commits", "getCommits", "A group's commits, for its members.",
            Access.DEVICE, _guard(do.commits), None, {200: s.CommitsAnswer}, _problems(*member),
            (_number_parameter("from_epoch", "Only commits on this epoch or later.", 0, MAX_STATE_COUNTER),),
        ),
        Route(
            "GET", f"{device}/mailbox", "getMailbox", "A page of this device's mailbox.",
            Access.DEVICE, _guard(do.mailbox), None, {200: s.MailboxAnswer}, _problems(*own),
            (
                _number_parameter("after", "Only items after this sequence.", 0, 2**32 - 1),
                _number_parameter("limit", "At most so many items.", 1, ITEMS_PER_PAGE),
            ),
        ),
        Route(
            "POST", f"{device}/mailbox/ack", "acknowledgeMailbox", "Acknowledge items, cumulatively.",
            Access.DEVICE, _guard(do.acknowledge), s.Acknowledgement, {200: s.AcknowledgedAnswer},
            _problems(*own, _R.SESSION_ENDED, _R.ACK_AHEAD),
        ),
        Route(
            "POST", f"{device}/mailbox/reset", "resetMailbox", "Start anew after a mailbox was lost.",
            Access.DEVICE, _guard(do.reset), s.Reset, {200: s.AcknowledgedAnswer},
            _problems(*own, _R.SESSION_ENDED),
        ),
    )  # fmt: skip
