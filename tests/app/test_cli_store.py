"""What is stored: fsck, retention and the inventory, each finding beside a clean store."""

from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.app.stores import SignedStore, called, parsed, signed_store

from letterlock.app.commands.stored import inventory, inventory_document
from letterlock.custody.vault_file import VaultFile
from letterlock.model.clock import ManualClock
from letterlock.storage.columns import DUE, FILES, MEANING, TABLES, VAULT, DataClass, Lifetime
from letterlock.storage.sqlite.connection import open_writer
from letterlock.storage.sqlite.fsck import check_store
from letterlock.storage.sqlite.overdue import find_overdue

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_900_000_000_000
MESSAGE = (
    "INSERT INTO message (seq, tenant, id, state, channel, protection, grade, verifier, indicator, decision, rule,"
    " fall, pending, size_bucket, entry, slot, accepted_ms, updated_ms, expires_ms, purge_ms)"
    " VALUES ({seq}, 1, zeroblob(16), {state}, 0, 0, 0, 0, 0, 0, 'r', 0, 0, 0, {entry}, 0, 0, 0, {expires}, {purge})"
)


def message(seq: int = 1, *, state: int = 1, entry: int = 0, expires: int = NOW + 9**12, purge: str = "NULL") -> str:
    return MESSAGE.format(seq=seq, state=state, entry=entry, expires=expires, purge=purge)


DEVICE = (
    "INSERT INTO device (mailbox, tenant, id, account, session_key, leaf_key, kind, acked, created_ms)"
    " VALUES (1, 1, zeroblob(16), x'aa', x'', x'', 'native', 5, 0)"
)
TENANT = "INSERT INTO tenant (no, id, name, profile, created_ms) VALUES (1, zeroblob(16), 't', 'standard', 0)"
SEQ = "UPDATE counter SET value = 1000 WHERE name = 'message_seq'"
ITEM = f"INSERT INTO mailbox_item (key, message, kind) VALUES ({(1 << 32) | 6}, 1, 1)"
BODY = "INSERT INTO sealed_body (message, sealed, generation) VALUES (1, x'00', 3)"
ATTACHMENT = "INSERT INTO attachment VALUES (1, 1, zeroblob(16), 1, NULL, 9, {received}, {due})"
ATTACHMENT_KEY = "INSERT INTO attachment_key VALUES (1, x'00', 3)"
INTERVAL = "INSERT INTO record_interval VALUES (1, zeroblob(32), {due})"
GROUP = (
    "INSERT INTO mls_group (no, tenant, ref, group_id, epoch, first_epoch, creator, log_seq, log_head, created_ms,"
    " successor) VALUES ({no}, 1, x'{no:032x}', x'aa', 0, 0, 1, 0, x'', 0, {successor})"
)
SOUND = (TENANT, DEVICE, SEQ, message(), ITEM, BODY)

BROKEN = {
    "references_hold": ("INSERT INTO sealed_body VALUES (77, x'00', 3)",),
    "mailbox_items_have_messages": ("DELETE FROM message",),
    "mailbox_items_have_devices": (f"UPDATE mailbox_item SET key = {(9 << 32) | 1}",),
    "mailbox_items_are_unacknowledged": (f"UPDATE mailbox_item SET key = {(1 << 32) | 5}",),
    "mailbox_items_have_bodies": ("DELETE FROM sealed_body",),
    "sealed_bodies_are_awaited": ("DELETE FROM mailbox_item",),
    "sealed_bodies_have_messages": ("DELETE FROM message",),
    "readable_bodies_are_awaited": ("INSERT INTO shreddable_body VALUES (1, x'00', x'00', 3)",),
    "waiting_messages_have_bodies": (message(2, state=4),),
    "waiting_messages_are_in_the_outbox": (message(2, state=2),),
    "numbers_are_not_used_twice": (message(1001),),
    "messages_point_into_the_ledger": ("UPDATE message SET entry = 20",),
    "messages_have_their_interval": ("UPDATE message SET entry = -7",),
    "waiting_records_have_no_hole": (INTERVAL.format(due=NOW), "INSERT INTO waiting_record VALUES (1, 1, x'')"),
    "members_are_devices": ("INSERT INTO group_member VALUES (1, 9)",),
    "eras_follow_each_other": (GROUP.format(no=1, successor="NULL"), GROUP.format(no=2, successor=1)),
    "attachments_are_awaited": (ATTACHMENT.format(received=9, due=NOW), ATTACHMENT_KEY),
    "attachments_hold_what_they_say": (ATTACHMENT.format(received=8, due=NOW), ATTACHMENT_KEY),
    "ledger_has_all_entries": ("DELETE FROM ledger_entry WHERE i = 4",),
    "ledger_head_fits_rows": ("UPDATE ledger_entry SET d = x'00' WHERE i = 19",),
    "ledger_has_all_tiles": ("INSERT INTO ledger_tile VALUES (0, 0, x'00')",),
    "records_fit_their_entries": ("INSERT INTO record_batch VALUES (2, x'00', 0, x'00', NULL)",),
    "storage_keys_exist": ("UPDATE sealed_body SET generation = 4",),
}


@pytest.fixture
def store(tmp_path: Path) -> SignedStore:
    return signed_store(tmp_path / "store", 20)


def found(store: SignedStore, *statements: str) -> dict[str, int | None]:
    store.tamper(*statements)
    db = apsw.Connection(str(store.folder / "letterlock.db"))
    try:
        return {one.name: one.bad for one in check_store(db, {3})}
    finally:
        db.close()


def test_a_sound_store_is_whole(store: SignedStore) -> None:
    checks = found(store, *SOUND)
    assert set(checks.values()) == {0}
    assert set(checks) == {*BROKEN, "file_is_whole"}


@pytest.mark.parametrize("check", BROKEN)
def test_each_check_finds_what_it_is_for(store: SignedStore, check: str) -> None:
    checks = found(store, *SOUND, *BROKEN[check])
    assert checks[check] is not None
    assert checks[check] == 1, checks


def test_keys_that_cannot_be_looked_at_are_said_to_be_unchecked(store: SignedStore) -> None:
    db = apsw.Connection(str(store.folder / "letterlock.db"))
    last = check_store(db, None)[-1]
    db.close()
    assert (last.name, last.bad) == ("storage_keys_exist", None)


def test_fsck_on_the_command_line(store: SignedStore) -> None:
    assert parsed("fsck", "--data", str(store.folder))["whole"] is True
    assert not (store.folder / "keys.store").exists(), "a check makes nothing"
    store.tamper("DELETE FROM ledger_entry WHERE i = 4")
    report: Any = parsed("fsck", "--data", str(store.folder), status=1)
    bad = next(one for one in report["checks"] if one["found"])
    assert (bad["check"], bad["found"], bad["first"]) == ("ledger_has_all_entries", 1, 4)
    assert "Something is not as it should be" in called("fsck", "--data", str(store.folder)).output


OVERDUE = {
    ("message", Lifetime.DELIVERY_PLUS_N): (message(state=6, purge="{due}"),),
    ("message", Lifetime.UNTIL_DELIVERED): (message(state=4, expires=-1),),
    ("message_key", None): ("INSERT INTO message_key VALUES (zeroblob(16), 1, 1, x'', x'', 1, {due})",),
    ("record_batch", None): ("INSERT INTO record_batch VALUES (1, x'', {due}, x'', NULL)",),
    ("record_interval", None): (INTERVAL,),
    ("device_session", None): (TENANT, DEVICE, "INSERT INTO device_session VALUES (1, zeroblob(32), 1, {due})"),
    ("key_package", None): (TENANT, DEVICE, "INSERT INTO key_package VALUES (1, 1, 1, x'', x'', 0, {due})"),
    ("published_package", None): ("INSERT INTO published_package VALUES (1, zeroblob(32), {due})",),
    ("remote_part", None): ("INSERT INTO remote_part VALUES (1, x'', 1, 0, {due})",),
    ("attachment", None): (TENANT, DEVICE, ATTACHMENT.replace("{received}", "9")),
    ("push_subscription", None): (
        TENANT,
        DEVICE,
        "INSERT INTO push_subscription VALUES (1, 1, zeroblob(32), x'', 3, {due})",
    ),
    ("early_receipt", None): ("INSERT INTO early_receipt VALUES (1, x'', 0, {due})",),
}


@pytest.mark.parametrize("case", OVERDUE, ids=str)
@pytest.mark.parametrize("late", [False, True])
def test_rows_are_overdue_after_their_grace_and_not_before(
    store: SignedStore, case: tuple[str, Lifetime | None], late: bool
) -> None:
    table, lifetime = case
    wanted = next(i for i, one in enumerate(DUE) if one.table == table and lifetime in {None, one.lifetime})
    db = open_writer(store.folder)
    grace = find_overdue(db, NOW, 30)[wanted].grace_ms
    due = NOW - grace + (0 if late else 1)
    for statement in OVERDUE[case]:
        db.execute(statement.replace("{due}", str(due)).replace("-1, NULL", f"{due}, NULL")).fetchall()
    overdue = find_overdue(db, NOW, 30)
    db.close()
    assert [one.rows for one in overdue] == [int(late and place == wanted) for place in range(len(DUE))]


def test_a_consent_that_keeps_a_copy_is_not_overdue_before_the_copy(store: SignedStore) -> None:
    db = open_writer(store.folder)
    db.execute("PRAGMA foreign_keys=OFF")
    db.execute("INSERT INTO consent (id, tenant, challenge, kind, state, answered_by, created_ms, expires_ms)"
               " VALUES (zeroblob(16), 1, zeroblob(16), 0, 'open', x'', 0, 1)")  # fmt: skip
    before = {one.table: one.rows for one in find_overdue(db, NOW, 30)}
    db.execute(f"INSERT INTO kept_copy VALUES (1, zeroblob(16), x'', 1, {NOW})")
    after = {one.table: one.rows for one in find_overdue(db, NOW, 30)}
    db.close()
    assert (before["consent"], after["consent"], after["kept_copy"]) == (1, 0, 0)


def test_retention_verify_prints_n_and_fails_on_an_overdue_row(store: SignedStore, tmp_path: Path) -> None:
    report = parsed("retention", "verify", "--data", str(store.folder))
    assert (report["overdue"], report["metadata_after_delivery_minutes"]) == (0, 10)
    assert "N = 10 minutes" in called("retention", "verify", "--data", str(store.folder)).output
    settings = tmp_path / "l.toml"
    settings.write_text(f"[store]\nfolder = '{store.folder}'\nmetadata_after_delivery_minutes = 3\npurge_every_s = 1\n")
    store.tamper(message(state=6, purge="1000"))
    late = parsed("retention", "verify", "--config", str(settings), status=1)
    assert (late["overdue"], late["metadata_after_delivery_minutes"]) == (1, 3)


def test_every_column_of_the_vault_is_declared(tmp_path: Path) -> None:
    (tmp_path / "vault.db").touch(mode=0o600)
    VaultFile.open(tmp_path / "vault.db").close()
    db = apsw.Connection(str(tmp_path / "vault.db"))
    names = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type='table'").fetchall()]
    stored = {str(n): {str(r[1]) for r in db.execute(f"PRAGMA table_info({n})").fetchall()} for n in names}
    db.close()
    assert {table: set(columns) for table, columns in VAULT.items()} == stored


def test_no_column_has_a_class_of_readable_content_and_every_class_is_explained() -> None:
    assert not [kind for kind in DataClass if "readable" in kind.value or "body" in kind.value]
    assert set(MEANING) == set(DataClass)
    assert {one.data for columns in TABLES["sealed_body"].values() for one in [columns]} <= {
        DataClass.SEALED, DataClass.PSEUDONYM, DataClass.STATE,
    }  # fmt: skip


def test_every_lifetime_that_ends_by_time_has_a_rule_that_finds_overdue_rows() -> None:
    by_event = {
        Lifetime.PERMANENT, Lifetime.TENANT, Lifetime.ACCOUNT, Lifetime.GROUP, Lifetime.INTENT, Lifetime.SUBJECT,
        Lifetime.HOLD,
    }  # fmt: skip
    assert {rule.lifetime for rule in DUE} == set(Lifetime) - by_event
    assert all(rule.table in TABLES for rule in DUE)


def test_the_page_is_what_the_command_prints() -> None:
    assert (ROOT / "docs/data-inventory.md").read_text() == inventory_document()
    assert called("data", "inventory", "--markdown").stdout == inventory_document()
    listed: Any = parsed("data", "inventory")
    assert listed == inventory()
    assert "sealed_body" in called("data", "inventory").output


def test_files_of_the_folder_are_named_once() -> None:
    assert len({one.name for one in FILES}) == len(FILES)
    assert not [one.name for one in FILES if one.backup and one.name in {"vault.db", "root.key", "keys.store"}]


def test_the_clock_of_these_tests_is_far_from_the_present() -> None:
    assert ManualClock().now_ms() < NOW
