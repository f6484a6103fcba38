"""The vault: the only place where an identifier leads to a subject, and the place where that is forgotten.

An identifier (a normalised phone number, as bytes) is looked up by a keyed hash; the row behind it holds a random
``SubjectId`` and a key of the subject's own, sealed by the key store. State tables know the ``SubjectId``, logs and
metrics know tokens. Without the vault's row neither can be led back to the identifier, and tokens of two periods
cannot be joined; so deleting the row is the erasure.

An erasure has an intent and an outcome. The caller records the intent in the ledger between
:meth:`Vault.intend_erasure` and :meth:`Vault.erase`, and the outcome before :meth:`Vault.close_erasure`; at start-up it
goes on with :meth:`Vault.open_erasures`.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, unique
from hashlib import blake2b
from typing import ClassVar, Final, Protocol

from letterlock.custody.keystore import KeyHandle, KeyKind, KeyPurpose, KeyStore, KeyStoreError, KeyStoreReason
from letterlock.custody.sealing import Entropy
from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import ID_BYTES, SubjectId, TenantId

INDEX_KEY: Final = "vault/index"
SUBJECTS_KEY: Final = "vault/subjects"
MAX_IDENTIFIER: Final = 512
"""Bytes: a phone number has 15 digits, an e-mail address at most 320 octets."""
MAX_BATCH: Final = 1_000
MAX_CACHED: Final = 10_000
"""Subjects kept in memory: 2 to 3 MB."""
SUBJECT_KEY_BYTES: Final = 32
TOKEN_BYTES: Final = 16
DAY_MS: Final = 86_400_000


@unique
class VaultReason(Reason):
    """Why the vault refused."""

    BAD_IDENTIFIER = "bad_identifier"
    BATCH_TOO_LARGE = "batch_too_large"
    HELD = "erasure_blocked_by_hold"
    ABSENT = "no_such_subject"
    NOT_AUTHENTIC = "vault_row_not_authentic"
    IN_USE = "vault_in_use_by_another_process"
    NEWER = "vault_of_a_newer_version"
    RESIDUE = "deleted_rows_still_in_the_file"
    STORE = "vault_store_failed"


class VaultError(OperationError[VaultReason]):
    """The vault refused, or its store failed."""

    fault: ClassVar[Fault] = Fault.LOCAL


@unique
class TokenPurpose(Enum):
    """What a token is for. Tokens of two purposes, tenants or periods cannot be joined without the vault."""

    LOG = "log"
    METRICS = "metrics"
    ANALYTICS = "analytics"
    RATE_LIMIT = "rate_limit"
    AUDIT = "audit"


_PERIOD_DAYS: Final = {
    TokenPurpose.LOG: 1,
    TokenPurpose.METRICS: 1,
    TokenPurpose.ANALYTICS: 1,
    TokenPurpose.RATE_LIMIT: 1,
    TokenPurpose.AUDIT: 30,
}


def period_of(purpose: TokenPurpose, now_ms: int) -> int:
    """The number of the period, counted from 1970-01-01 UTC, in which a token of this purpose stays the same."""
    return now_ms // (_PERIOD_DAYS[purpose] * DAY_MS)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom an identifier leads to.

    Attributes:
        id: random; what state tables hold.
        key: 32 bytes of this subject alone, for tokens.
    """

    id: SubjectId
    key: bytes = field(repr=False)

    def token(self, purpose: TokenPurpose, tenant: TenantId, period: int) -> bytes:
        """16 bytes: the same for the same purpose, tenant and period; otherwise unrelated (keyed BLAKE2b, RFC 7693)."""
        data = tenant.value + period.to_bytes(8, "big", signed=True) + purpose.value.encode()
        return blake2b(data, digest_size=TOKEN_BYTES, key=self.key, person=b"letterlock-tok-1").digest()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the vault, as its store sees it.

    Attributes:
        lookup: keyed hash of tenant and identifier, 32 bytes.
        sealed_by: version of the key that sealed the rest.
        sealed: subject id and key, wrapped by the key store and bound to ``lookup``.
    """

    lookup: bytes = field(repr=False)
    sealed_by: int
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Erasure:
    """An intended erasure: durable from :meth:`Vault.intend_erasure` to :meth:`Vault.close_erasure`.

    Attributes:
        id: names it in the ledger; random, and no subject id.
        lookup: the row.
    """

    id: bytes
    lookup: bytes = field(repr=False)


@unique
class ErasureOutcome(Enum):
    """How an erasure ended."""

    ERASED = "erased"
    ALREADY_ABSENT = "already_absent"
    BLOCKED_BY_HOLD = "blocked_by_hold"


class VaultStore(Protocol):
    """The vault's own file. Every method is durable on return and raises :class:`VaultError`."""

    def find(self, lookups: Sequence[bytes]) -> dict[bytes, Row]:
        """The rows that exist, by look-up."""
        ...

    def insert_absent(self, rows: Sequence[Row]) -> dict[bytes, Row]:
        """Inserts, in one transaction, those whose look-up is new; what is stored now, for all of them."""
        ...

    def set_hold(self, lookup: bytes, hold: bytes) -> bool:
        """Puts a hold on a row. Idempotent by the hold's id; False if there is no row."""
        ...

    def release_hold(self, lookup: bytes, hold: bytes) -> None:
        """Takes one hold off. Idempotent."""
        ...

    def held(self, lookup: bytes) -> bool:
        """Whether any hold is on the row."""
        ...

    def intend(self, erasure: Erasure) -> None:
        """Records an intended erasure. Idempotent by its id."""
        ...

    def intended(self) -> tuple[Erasure, ...]:
        """Recorded and not closed."""
        ...

    def erase(self, lookup: bytes) -> ErasureOutcome:
        """Deletes the row, unless it is held, so that nothing of it is left in the files."""
        ...

    def close_intent(self, erasure: Erasure) -> None:
        """Removes the record of an erasure, leaving nothing of it in the files. Idempotent."""
        ...


class Vault:
    """Identifiers to subjects; see the module. May be used by several threads."""

    def __init__(self, store: VaultStore, keystore: KeyStore, entropy: Entropy = os.urandom) -> None:
        self._store = store
        self._keystore = keystore
        self._entropy = entropy
        self._lock = threading.RLock()
        self._cache: OrderedDict[bytes, Subject] = OrderedDict()
        keystore.ensure(INDEX_KEY, KeyKind.MAC, KeyPurpose.VAULT_INDEX, b"")
        self._index = keystore.versions(INDEX_KEY, KeyPurpose.VAULT_INDEX, b"")
        self._sealer = keystore.ensure(SUBJECTS_KEY, KeyKind.WRAP, KeyPurpose.VAULT_SUBJECTS, b"")

    def subject(self, tenant: TenantId, identifier: bytes) -> Subject:
        """The subject of an identifier in a tenant; made, and durable, before this returns. Idempotent.

        Raises:
            VaultError: BAD_IDENTIFIER, NOT_AUTHENTIC, or the store failed.
        """
        return self.subjects(tenant, (identifier,))[0]

    def subjects(self, tenant: TenantId, identifiers: Sequence[bytes]) -> tuple[Subject, ...]:
        """As :meth:`subject` for up to 1,000 identifiers, new ones in one transaction.

        Raises:
            VaultError: as :meth:`subject`; BATCH_TOO_LARGE.
        """
        if len(identifiers) > MAX_BATCH:
            raise VaultError(VaultReason.BATCH_TOO_LARGE, limit=MAX_BATCH)
        # By the newest index key and, after a rotation, by older ones: a subject outlives the key's version.
        lookups = [self._lookups(tenant, identifier) for identifier in identifiers]
        with self._lock:
            known = {names[0]: self._cached(names[0]) for names in lookups}
            missing = {names[0]: names for names in lookups if known[names[0]] is None}
            if missing:
                known.update(self._find_or_make(missing))
            found = tuple(known[names[0]] for names in lookups)
        assert all(subject is not None for subject in found)
        return tuple(subject for subject in found if subject is not None)

    def _find_or_make(self, missing: dict[bytes, tuple[bytes, ...]]) -> dict[bytes, Subject]:
        stored = self._store.find([name for names in missing.values() for name in names])
        rows: dict[bytes, Row] = {}
        for first, names in missing.items():
            row = next((stored[name] for name in names if name in stored), None)
            if row is not None:
                rows[first] = row
        fresh = [self._new_row(first) for first in missing if first not in rows]
        if fresh:
            rows.update(self._store.insert_absent(fresh))
        subjects = {first: self._unseal(row) for first, row in rows.items()}
        for first, subject in subjects.items():
            self._cache[first] = subject
        while len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return subjects

    def find(self, tenant: TenantId, identifier: bytes) -> Subject | None:
        """The subject of an identifier, if there is one; makes none.

        Raises:
            VaultError: BAD_IDENTIFIER, NOT_AUTHENTIC, or the store failed.
        """
        row = self._existing(tenant, identifier)
        return None if row is None else self._unseal(row)

    def hold(self, tenant: TenantId, identifier: bytes, hold: bytes) -> None:
        """Puts a legal hold, named by the caller's id, on a subject; while it lasts, erasure is refused. Idempotent.

        Raises:
            VaultError: ABSENT, or as :meth:`find`.
        """
        with self._lock:
            if not self._store.set_hold(self._row(tenant, identifier).lookup, hold):
                raise VaultError(VaultReason.ABSENT)

    def release(self, tenant: TenantId, identifier: bytes, hold: bytes) -> None:
        """Takes one hold off. Idempotent.

        Raises:
            VaultError: ABSENT, or as :meth:`find`.
        """
        with self._lock:
            self._store.release_hold(self._row(tenant, identifier).lookup, hold)

    def intend_erasure(self, tenant: TenantId, identifier: bytes) -> Erasure:
        """Records, durably, that a subject is to be forgotten.

        Raises:
            VaultError: HELD, ABSENT, or as :meth:`find`.
        """
        with self._lock:
            row = self._row(tenant, identifier)
            if self._store.held(row.lookup):
                raise VaultError(VaultReason.HELD)
            for open_one in self._store.intended():
                if open_one.lookup == row.lookup:
                    return open_one
            erasure = Erasure(self._entropy(ID_BYTES), row.lookup)
            self._store.intend(erasure)
            return erasure

    def subject_of(self, erasure: Erasure) -> SubjectId | None:
        """Whom an intended erasure is about; None once it is forgotten.

        Raises:
            VaultError: NOT_AUTHENTIC, or the store failed.
        """
        with self._lock:
            row = self._store.find((erasure.lookup,)).get(erasure.lookup)
            return None if row is None else self._unseal(row).id

    def erase(self, erasure: Erasure) -> ErasureOutcome:
        """Forgets: the row is deleted and gone from the files. Idempotent; a hold set since then blocks it."""
        with self._lock:
            outcome = self._store.erase(erasure.lookup)
            if outcome is not ErasureOutcome.BLOCKED_BY_HOLD:
                # The cache goes by the newest look-up, which may not be the row's: after an erasure it starts anew.
                self._cache.clear()
            return outcome

    def close_erasure(self, erasure: Erasure) -> None:
        """The outcome is recorded elsewhere: forgets the intent too. Idempotent."""
        with self._lock:
            self._store.close_intent(erasure)

    def open_erasures(self) -> tuple[Erasure, ...]:
        """What a crash left open: to be gone on with at start-up."""
        with self._lock:
            return self._store.intended()

    def _lookups(self, tenant: TenantId, identifier: bytes) -> tuple[bytes, ...]:
        if not 1 <= len(identifier) <= MAX_IDENTIFIER:
            raise VaultError(VaultReason.BAD_IDENTIFIER, longest=MAX_IDENTIFIER)
        mac = self._keystore.mac
        return tuple(mac(handle, KeyPurpose.VAULT_INDEX, tenant.value, identifier) for handle in self._index)

    def _existing(self, tenant: TenantId, identifier: bytes) -> Row | None:
        names = self._lookups(tenant, identifier)
        stored = self._store.find(names)
        return next((stored[name] for name in names if name in stored), None)

    def _row(self, tenant: TenantId, identifier: bytes) -> Row:
        row = self._existing(tenant, identifier)
        if row is None:
            raise VaultError(VaultReason.ABSENT)
        return row

    def _cached(self, lookup: bytes) -> Subject | None:
        subject = self._cache.get(lookup)
        if subject is not None:
            self._cache.move_to_end(lookup)
        return subject

    def _new_row(self, lookup: bytes) -> Row:
        secret = self._entropy(ID_BYTES + SUBJECT_KEY_BYTES)
        sealed = self._keystore.wrap(self._sealer, KeyPurpose.VAULT_SUBJECTS, lookup, secret)
        return Row(lookup, self._sealer.version, sealed)

    def _unseal(self, row: Row) -> Subject:
        handle = KeyHandle(SUBJECTS_KEY, row.sealed_by)
        try:
            secret = self._keystore.unwrap(handle, KeyPurpose.VAULT_SUBJECTS, row.lookup, row.sealed)
        except KeyStoreError as error:
            if error.reason is KeyStoreReason.NOT_AUTHENTIC:
                raise VaultError(VaultReason.NOT_AUTHENTIC) from None
            raise
        if len(secret) != ID_BYTES + SUBJECT_KEY_BYTES:
            raise VaultError(VaultReason.NOT_AUTHENTIC)
        return Subject(SubjectId(secret[:ID_BYTES]), secret[ID_BYTES:])
