"""Accounts, device lists, sessions and key packages, in the writer."""

from typing import Final

from letterlock.storage.relay_commands import (
    LOW_WATER,
    MAX_KEY_PACKAGES_KEPT,
    MAX_SESSIONS,
    AccountCreated,
    Claimed,
    ClaimedPackage,
    ClaimKeyPackages,
    ClearKeyPackages,
    CreateAccount,
    ListedDevice,
    ListPublished,
    LoggedIn,
    LogIn,
    LogOut,
    NewPackage,
    NoteFinding,
    PackagesKept,
    PublishDeviceList,
    PutKeyPackages,
    RaiseCounter,
    RelayReason,
    relay_refused,
)
from letterlock.storage.sqlite.attachment_ops import forget_attachments_of
from letterlock.storage.sqlite.relay_mail import (
    IN_ORDER,
    RESET,
    caller_alive,
    empty_mailbox,
    raise_counter,
    silence,
)
from letterlock.storage.sqlite.relay_public import lower_groups_of, note_finding
from letterlock.storage.sqlite.rows import first, rows, run
from letterlock.storage.sqlite.transaction import Transaction
from letterlock.wire.tlog.commitments import CommitmentKind, Digest, commit
from letterlock.wire.tlog.entries import DeviceList, Finding, encode_entry
from letterlock.wire.tlog.hashes import leaf_hash
from letterlock.wire.tlog.words import FindingCode, Severity

_SESSIONS_ENDED: Final = "UPDATE counter SET value=? WHERE name='session_version'"


def create_account(tx: Transaction, command: CreateAccount) -> AccountCreated:
    """Makes an account, or finds the one that has this key already."""
    known = first(
        tx.db, "SELECT id FROM account WHERE tenant=? AND identity_key=?", (command.tenant, command.identity_key)
    )
    if known is not None:
        return AccountCreated(known[0], created=False)
    run(
        tx.db,
        "INSERT INTO account (tenant, id, identity_key, created_ms) VALUES (?,?,?,?)",
        (command.tenant, command.account, command.identity_key, tx.now_ms),
    )
    return AccountCreated(command.account, created=True)


def publish_device_list(tx: Transaction, command: PublishDeviceList) -> ListPublished:
    """Puts the next version in force, with its ledger entry; removed devices end here and now.

    Raises:
        CommitRefused: no such account; not the next version; a device of another account, or a retired one.
    """
    db, tenant, account = tx.db, command.tenant, command.account
    row = first(db, "SELECT list_version, list_hash FROM account WHERE tenant=? AND id=?", (tenant, account))
    if row is None:
        raise relay_refused(RelayReason.NOT_FOUND)
    version, digest = row
    if version and command.version == version and command.digest == digest:
        answer = first(
            db,
            "SELECT leaf_hash FROM device_list_version WHERE tenant=? AND account=? AND version=?",
            (tenant, account, version),
        )
        assert answer is not None, "a version in force has its row"
        return ListPublished(version, digest, answer[0], True, (), (), tx.state.session_version)
    if command.version != version + 1 or command.previous != (digest or bytes(32)):
        raise relay_refused(RelayReason.DEVICE_LIST_VERSION, current_version=version)
    ended, rekeyed = _put_devices(tx, command)
    removed = _remove_others(tx, command)
    lowered = lower_groups_of(tx, (*removed, *rekeyed))
    for mailbox in ended:
        run(db, "DELETE FROM device_session WHERE mailbox=?", (mailbox,))
    entry = DeviceList(
        ts=tx.now_ms,
        account=commit(CommitmentKind.ACCOUNT, command.salt, account),
        version=command.version,
        list=Digest(command.digest),
    )
    leaf = leaf_hash(encode_entry(entry))
    number = tx.append(entry)
    run(
        db,
        "INSERT INTO device_list_version (tenant, account, version, list_hash, signed, leaf_hash, entry, salt,"
        " created_ms) VALUES (?,?,?,?,?,?,?,?,?)",
        (tenant, account, command.version, command.digest, command.signed, leaf, number, command.salt, tx.now_ms),
    )
    run(
        db,
        "UPDATE account SET list_version=?, list_hash=? WHERE tenant=? AND id=?",
        (command.version, command.digest, tenant, account),
    )
    over = (*removed, *ended)
    version_now = _end_sessions(tx) if over else tx.state.session_version
    return ListPublished(command.version, command.digest, leaf, False, removed, over, version_now, lowered)


def _end_sessions(tx: Transaction) -> int:
    """Moves the revocation version on: decisions made with sessions of before are made again."""
    version = tx.state.session_version + 1
    run(tx.db, _SESSIONS_ENDED, (version,))
    state = tx.state

    def move() -> None:
        state.session_version = version

    tx.then(move)
    return version


def _put_devices(tx: Transaction, command: PublishDeviceList) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Inserts new devices and alters known ones; returns the mailboxes of those with a new session key, leaf key."""
    db = tx.db
    known: list[tuple[ListedDevice, tuple[int, bytes, bytes] | None]] = []
    for listed in command.devices:
        row = first(
            db,
            "SELECT account, revoked_ms, mailbox, session_key, leaf_key FROM device WHERE tenant=? AND id=?",
            (command.tenant, listed.device),
        )
        if row is not None and row[0] != command.account:
            raise relay_refused(RelayReason.DEVICE_EXISTS)
        if row is not None and row[1] is not None:
            raise relay_refused(RelayReason.DEVICE_RETIRED)
        known.append((listed, None if row is None else (row[2], row[3], row[4])))
    ended: list[int] = []
    rekeyed: list[int] = []
    for listed, present in known:
        if present is None:
            run(
                db,
                "INSERT INTO device (tenant, id, account, session_key, leaf_key, kind, created_ms)"
                " VALUES (?,?,?,?,?,?,?)",
                (
                    command.tenant, listed.device, command.account, listed.session_key, listed.leaf_key, listed.kind,
                    tx.now_ms,
                ),
            )  # fmt: skip
            continue
        mailbox, session_key, leaf_key = present
        run(
            db,
            "UPDATE device SET session_key=?, leaf_key=?, kind=? WHERE mailbox=?",
            (listed.session_key, listed.leaf_key, listed.kind, mailbox),
        )
        if session_key != listed.session_key:
            ended.append(mailbox)
        if leaf_key != listed.leaf_key:
            rekeyed.append(mailbox)
            # Packages of the old leaf would be refused by every claimer.
            run(db, "DELETE FROM key_package WHERE mailbox=?", (mailbox,))
    return tuple(ended), tuple(rekeyed)


def _remove_others(tx: Transaction, command: PublishDeviceList) -> tuple[int, ...]:
    db = tx.db
    listed = {entry.device for entry in command.devices}
    present = rows(
        db,
        "SELECT mailbox, id FROM device WHERE tenant=? AND account=? AND revoked_ms IS NULL",
        (command.tenant, command.account),
    )
    gone = tuple(mailbox for mailbox, device in present if device not in listed)
    for mailbox in gone:
        run(db, "UPDATE device SET revoked_ms=? WHERE mailbox=?", (tx.now_ms, mailbox))
        run(db, "DELETE FROM device_session WHERE mailbox=?", (mailbox,))
        run(db, "DELETE FROM key_package WHERE mailbox=?", (mailbox,))
        silence(tx, mailbox)
        empty_mailbox(tx, mailbox)
        forget_attachments_of(tx, mailbox)
        run(db, "DELETE FROM push_subscription WHERE mailbox=?", (mailbox,))
    return gone


def log_in(tx: Transaction, command: LogIn) -> LoggedIn:
    """Makes a session if the stated counter is above all that were heard (A18); else records a finding.

    Raises:
        CommitRefused: the device or its session key is gone.
    """
    db, mailbox = tx.db, command.mailbox
    row = first(
        db,
        "SELECT tenant, session_key, revoked_ms, state_counter, lost, account FROM device WHERE mailbox=?",
        (mailbox,),
    )
    if row is None or row[0] != command.tenant or row[1] != command.session_key or row[2] is not None:
        raise relay_refused(RelayReason.SESSION_REFUSED)
    counter, lost, account = max(row[3], command.heard), *row[4:]
    if command.state_counter <= counter:
        note_finding(tx, NoteFinding(FindingCode.STATE_ROLLED_BACK, Severity.WARNING, account, command.salt))
        return LoggedIn(rolled_back=True, counter=counter)
    raise_counter(tx, mailbox, command.state_counter)
    run(db, "DELETE FROM device_session WHERE mailbox=? AND expires_ms<=?", (mailbox, tx.now_ms))
    run(
        db,
        "INSERT INTO device_session (tenant, token_hash, mailbox, expires_ms) VALUES (?,?,?,?)",
        (command.tenant, command.token_hash, mailbox, command.expires_ms),
    )
    ended = rows(
        db,
        "DELETE FROM device_session WHERE token_hash IN (SELECT token_hash FROM device_session WHERE mailbox=?"
        " AND token_hash<>? ORDER BY expires_ms DESC, token_hash LIMIT -1 OFFSET ?) RETURNING token_hash",
        (mailbox, command.token_hash, MAX_SESSIONS - 1),
    )
    box = tx.state.mailbox(db, mailbox)
    return LoggedIn(
        rolled_back=False,
        counter=command.state_counter,
        ended=tuple(token for (token,) in ended),
        acked=box.acked,
        head=box.head,
        lost=lost != IN_ORDER,
        packages=_available(tx, mailbox),
    )


def log_out(tx: Transaction, command: LogOut) -> None:
    """Ends one session; harmless when it has ended."""
    run(
        tx.db,
        "DELETE FROM device_session WHERE token_hash=? AND mailbox=? AND tenant=?",
        (command.token_hash, command.mailbox, command.tenant),
    )


def note_counter(tx: Transaction, command: RaiseCounter) -> None:
    """Keeps the highest counter stated."""
    caller_alive(tx, command.tenant, command.mailbox)
    raise_counter(tx, command.mailbox, command.state_counter)


def _available(tx: Transaction, mailbox: int) -> int:
    return int(
        rows(
            tx.db,
            "SELECT count(*) FROM key_package WHERE mailbox=? AND last_resort=0 AND expires_ms>?",
            (mailbox, tx.now_ms),
        )[0][0]
    )


def put_key_packages(tx: Transaction, command: PutKeyPackages) -> PackagesKept:
    """Adds packages that were never published before; refused as a whole.

    Raises:
        CommitRefused: a leaf key that is not the listed one; more than a pool holds.
    """
    db, mailbox = tx.db, command.mailbox
    lost = caller_alive(tx, command.tenant, mailbox)
    row = first(db, "SELECT leaf_key FROM device WHERE mailbox=?", (mailbox,))
    assert row is not None, "the caller is alive"
    if any(package.leaf_key != row[0] for package in command.packages):
        raise relay_refused(RelayReason.LEAF_NOT_LISTED)
    fresh: list[NewPackage] = []
    seen: set[bytes] = set()
    for package in command.packages:
        published = first(db, "SELECT 1 FROM published_package WHERE tenant=? AND ref=?", (command.tenant, package.ref))
        if published is None and package.ref not in seen:
            fresh.append(package)
        seen.add(package.ref)
    ordinary = [package for package in fresh if not package.last_resort]
    if _available(tx, mailbox) + len(ordinary) > MAX_KEY_PACKAGES_KEPT:
        raise relay_refused(RelayReason.TOO_MANY_KEY_PACKAGES, limit=MAX_KEY_PACKAGES_KEPT)
    if len(fresh) > len(ordinary):
        # At most one last resort: the newest of this request replaces any other.
        run(db, "DELETE FROM key_package WHERE mailbox=? AND last_resort=1", (mailbox,))
    kept = [*ordinary, *[package for package in fresh if package.last_resort][-1:]]
    db.executemany(
        "INSERT INTO published_package (tenant, ref, expires_ms) VALUES (?,?,?)",
        [(command.tenant, package.ref, package.expires_ms) for package in fresh],
    )
    db.executemany(
        "INSERT INTO key_package (tenant, mailbox, ref, package, last_resort, expires_ms) VALUES (?,?,?,?,?,?)",
        [(command.tenant, mailbox, p.ref, p.package, int(p.last_resort), p.expires_ms) for p in kept],
    )
    if lost == RESET and kept:
        run(db, "UPDATE device SET lost=? WHERE mailbox=?", (IN_ORDER, mailbox))
    last_resort = first(db, "SELECT 1 FROM key_package WHERE mailbox=? AND last_resort=1", (mailbox,))
    return PackagesKept(
        len(fresh), len(command.packages) - len(fresh), _available(tx, mailbox), last_resort is not None
    )


def clear_key_packages(tx: Transaction, command: ClearKeyPackages) -> None:
    """Empties the pool; the hashes stay, so that nothing comes back."""
    caller_alive(tx, command.tenant, command.mailbox)
    run(tx.db, "DELETE FROM key_package WHERE mailbox=?", (command.mailbox,))


def claim_key_packages(tx: Transaction, command: ClaimKeyPackages) -> Claimed:
    """Takes one package of each device out of its pool: each is handed out once.

    Raises:
        CommitRefused: the account has no list, or a named device is not on it.
    """
    db = tx.db
    caller_alive(tx, command.tenant, command.claimer)
    head = first(
        db,
        "SELECT a.identity_key, v.signed, v.version, v.leaf_hash FROM account a JOIN device_list_version v"
        " ON v.tenant=a.tenant AND v.account=a.id AND v.version=a.list_version WHERE a.tenant=? AND a.id=?",
        (command.tenant, command.account),
    )
    if head is None:
        raise relay_refused(RelayReason.NOT_FOUND)
    listed = dict(
        rows(
            db,
            "SELECT id, mailbox FROM device WHERE tenant=? AND account=? AND revoked_ms IS NULL ORDER BY id",
            (command.tenant, command.account),
        )
    )
    wanted = tuple(listed) if command.devices is None else tuple(dict.fromkeys(command.devices))
    if any(device not in listed for device in wanted):
        raise relay_refused(RelayReason.NOT_FOUND)
    packages: list[ClaimedPackage] = []
    exhausted: list[bytes] = []
    for device in wanted:
        if listed[device] == command.claimer:
            continue
        found = _claim_one(tx, device, listed[device])
        if found is None:
            exhausted.append(device)
        else:
            packages.append(found)
    served = sum(package.last_resort for package in packages)
    if served:
        tx.append(Finding(ts=tx.now_ms, code=FindingCode.LAST_RESORT_SERVED, severity=Severity.WARNING, count=served))
    low = tuple(
        listed[device] for device in wanted if listed[device] != command.claimer and _is_low(tx, listed[device])
    )
    return Claimed(head[0], head[1], head[2], head[3], tuple(packages), tuple(exhausted), low)


def _is_low(tx: Transaction, mailbox: int) -> bool:
    left = rows(
        tx.db,
        "SELECT 1 FROM key_package WHERE mailbox=? AND last_resort=0 AND expires_ms>? LIMIT ?",
        (mailbox, tx.now_ms, LOW_WATER + 1),
    )
    return len(left) <= LOW_WATER


def _claim_one(tx: Transaction, device: bytes, mailbox: int) -> ClaimedPackage | None:
    """The oldest package, or the last resort."""
    gone = first(
        tx.db,
        "DELETE FROM key_package WHERE no=(SELECT no FROM key_package WHERE mailbox=? AND last_resort=0"
        " AND expires_ms>? ORDER BY no LIMIT 1) RETURNING package",
        (mailbox, tx.now_ms),
    )
    if gone is not None:
        return ClaimedPackage(device, gone[0], last_resort=False)
    kept = first(
        tx.db,
        "SELECT package FROM key_package WHERE mailbox=? AND last_resort=1 AND expires_ms>?",
        (mailbox, tx.now_ms),
    )
    return None if kept is None else ClaimedPackage(device, kept[0], last_resort=True)
