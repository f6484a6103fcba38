"""Logins: a device proves its session key over a nonce and its state counter, and gets a short-lived token."""

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from letterlock.model.clock import Clock
from letterlock.model.ids import DeviceId, TenantId
from letterlock.relay.accounts import SALT_BYTES
from letterlock.relay.directory import SessionDirectory
from letterlock.relay.errors import RelayError
from letterlock.relay.limits import MAX_STATE_COUNTER, SESSION_LIFETIME_MS
from letterlock.relay.nonces import NonceBook
from letterlock.relay.ports import Committer, Entropy, Reads, settle
from letterlock.storage.relay_commands import LoggedIn, LogIn, LogOut, RelayReason
from letterlock.storage.relay_rows import LoginCandidate, SessionRow
from letterlock.wire.preimage import (
    KeyFamily,
    PublicKey,
    Purpose,
    Scope,
    Signature,
    SignatureError,
    SoftwareKey,
    Suite,
    context_hash,
    verify,
)

TOKEN_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Login:
    """A new session, and where the device's mailbox stands."""

    token: str
    expires_ms: int
    acknowledged: int
    head: int
    lost: bool
    key_packages: int

    def __repr__(self) -> str:
        return f"<Login until {self.expires_ms}>"


class Sessions:
    """Nonces, logins and log-outs.

    Args:
        committer: the writer.
        reads: the store's queries.
        directory: the live sessions.
        nonces: the open nonces.
        clock: wall time.
        environment: the installation's name, as it stands in signatures.
        audience: this gateway's name, as it stands in signatures.
        entropy: for tokens and salts.
    """

    def __init__(
        self,
        committer: Committer,
        reads: Reads,
        directory: SessionDirectory,
        nonces: NonceBook,
        clock: Clock,
        environment: str,
        audience: str,
        entropy: Entropy,
    ) -> None:
        self._committer = committer
        self._reads = reads
        self._directory = directory
        self._nonces = nonces
        self._clock = clock
        self._environment = environment
        self._audience = audience
        self._entropy = entropy
        # For devices that do not exist: they cost what the others cost, so time tells nobody which ids exist.
        self._nobody = LoginCandidate(
            0, bytes(16), bytes(16), 0, SoftwareKey(KeyFamily.SESSION, Suite.ED25519, entropy(32)).public.encode()
        )

    async def load(self) -> None:
        """Takes over the sessions that the store holds: at start-up, before the first request."""
        self._directory.load(*await self._reads.sessions(self._clock.now_ms()))

    def nonce(self, device: DeviceId) -> tuple[bytes, int]:
        """A nonce for a login and its end; for devices that do not exist, too."""
        return self._nonces.give(device)

    async def log_in(self, device: DeviceId, nonce: bytes, state_counter: int, signature: bytes) -> Login:
        """Verifies a login and makes a session.

        Raises:
            RelayError: SESSION_REFUSED for whatever does not verify; STATE_ROLLED_BACK.
        """
        if not self._nonces.take(device, nonce) or not 0 <= state_counter <= MAX_STATE_COUNTER:
            raise RelayError(RelayReason.SESSION_REFUSED)
        found = await self._reads.login_candidates(device.value)
        body = nonce + state_counter.to_bytes(8, "big")
        chosen = None
        for candidate in found or (self._nobody,):
            if self._proven(candidate, device, body, signature):
                chosen = candidate
        if chosen is None or chosen is self._nobody:
            raise RelayError(RelayReason.SESSION_REFUSED)
        return await self._make(chosen, device, state_counter)

    def _proven(self, candidate: LoginCandidate, device: DeviceId, body: bytes, signature: bytes) -> bool:
        scope = Scope(
            TenantId(candidate.tenant_id),
            self._environment,
            self._audience,
            context_hash(candidate.account, device.value),
        )
        try:
            key = PublicKey.parse(candidate.session_key, KeyFamily.SESSION)
            verify(key, Purpose.SESSION, scope, body, Signature.parse(signature))
        except SignatureError:
            return False
        return True

    async def _make(self, who: LoginCandidate, device: DeviceId, state_counter: int) -> Login:
        token = urlsafe_b64encode(self._entropy(TOKEN_BYTES)).rstrip(b"=")
        expires_ms = self._clock.now_ms() + SESSION_LIFETIME_MS
        session = SessionRow(
            who.tenant, who.tenant_id, who.mailbox, device.value, who.account, expires_ms, sha256(token).digest(),
            state_counter,
        )  # fmt: skip
        command = LogIn(
            who.tenant,
            who.mailbox,
            who.session_key,
            session.token_hash,
            state_counter,
            self._directory.hear(who.mailbox, 0),
            expires_ms,
            self._entropy(SALT_BYTES),
        )

        def follow(outcome: LoggedIn) -> None:
            if not outcome.rolled_back:
                self._directory.end(outcome.ended)
                self._directory.add(session)

        outcome = await settle(self._committer, command, LoggedIn, follow, tenant=who.tenant)
        if outcome.rolled_back:
            raise RelayError(RelayReason.STATE_ROLLED_BACK, acknowledged_counter=outcome.counter)
        return Login(token.decode(), expires_ms, outcome.acked, outcome.head, outcome.lost, outcome.packages)

    def hear(self, mailbox: int, stated: int) -> int:
        """A device states its counter; the highest that was heard before (A18)."""
        return self._directory.hear(mailbox, stated)

    async def log_out(self, tenant: int, mailbox: int, token_hash: bytes) -> None:
        """Ends one session, at once."""
        self._directory.end((token_hash,))
        await settle(self._committer, LogOut(tenant, mailbox, token_hash), type(None), tenant=tenant)
