"""Questions on the sender's own devices: what they are shown, and their signed answers.

A device gets the very fields that its answer is signed over, and no sentence. Its signature is checked against the
account's newest signed list, so a device that the account does not list can answer nothing, whatever session it has.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from letterlock.assurance.consent import Answer, Challenge, answered_by_device
from letterlock.assurance.consent import ConsentError as TermsError
from letterlock.assurance.consent import ConsentReason as TermsReason
from letterlock.assurance.device_list import DeviceListError, parse_signed
from letterlock.custody.sealing import SealingError, StorageKey
from letterlock.custody.storage_keys import StorageKeyError
from letterlock.gateway.consents import Answerer, AnswerView, ConsentError, ConsentReason, Consents, Said
from letterlock.gateway.questions import About, QuestionBook
from letterlock.gateway.sealed_questions import unseal_question
from letterlock.model.clock import Clock
from letterlock.model.ids import AccountId, ChallengeId, ConsentId, DeviceId, MessageId, SubjectId, TenantId
from letterlock.model.protection import ConsentKind
from letterlock.storage.errors import StorageError, StorageReason
from letterlock.storage.open_commands import ChallengeRow, SealedQuestion
from letterlock.storage.relay_rows import AccountRow
from letterlock.storage.sqlite.open_reads import OpenReads
from letterlock.wire.preimage import PublicKey, Signature, SignatureError

MAX_SHOWN: Final = 16
"""Questions at a time: a person answers one after the other, the oldest first."""
_ANSWER: Final = {Said.AGREED: Answer.AGREED, Said.REFUSED: Answer.REFUSED}


@dataclass(frozen=True, slots=True)
class Caller:
    """A device with a session."""

    tenant: int
    tenant_id: TenantId
    account: AccountId
    device: DeviceId
    mailbox: int


class Accounts(Protocol):
    """Accounts with the heads of their lists."""

    async def account(self, tenant: int, account: bytes) -> AccountRow | None:
        """One of them."""
        ...


class OpeningKeys(Protocol):
    """The storage keys of the generations."""

    def get(self, generation: int) -> StorageKey:
        """To open what lies there."""
        ...


class DeviceAnswers:
    """Shows questions to devices and takes their answers."""

    def __init__(
        self,
        reads: OpenReads,
        accounts: Accounts,
        questions: QuestionBook,
        consents: Consents,
        keys: OpeningKeys,
        clock: Clock,
    ) -> None:
        self._reads = reads
        self._accounts = accounts
        self._questions = questions
        self._consents = consents
        self._keys = keys
        self._clock = clock

    async def waiting(self, caller: Caller) -> list[Challenge]:
        """The open questions to the caller's account, the oldest first; those whose terms are others by now are not.

        Raises:
            StorageError: the store failed.
        """
        now = self._clock.now_ms()
        found = await self._reads.questions_for(caller.tenant, caller.account.value, now, MAX_SHOWN)
        shown = [self._challenge(caller, one) for one in found if self._takes(caller)]
        return [one for one in shown if one is not None]

    async def answer(self, caller: Caller, challenge: ChallengeId, said: Said, signature: bytes) -> AnswerView:
        """Takes a signed answer.

        Raises:
            ConsentError: it does nothing: NOT_FOUND also for a question to another account.
            StorageError: the store takes nothing now.
        """

        async def signed(row: ChallengeRow) -> Answerer:
            found = await self._reads.question_for(caller.tenant, caller.account.value, row.id)
            if found is None:
                asked = row.account == caller.account.value
                raise ConsentError(ConsentReason.ALREADY_ANSWERED if asked else ConsentReason.NOT_FOUND)
            shown = self._challenge(caller, found)
            if shown is None or not self._takes(caller):
                raise ConsentError(ConsentReason.TERMS_CHANGED)
            version, key = await self._key(caller)
            self._check(shown, said, signature, key)
            return Answerer(ConsentKind.DEVICE_SIGNED, caller.device.value, caller.mailbox, version)

        return await self._consents.settle(caller.tenant, caller.tenant_id, challenge, said, signed)

    async def withdraw(self, caller: Caller, challenge: ChallengeId) -> None:
        """Takes the account's yes back; whoever commits first, this or the message that uses it, wins.

        Raises:
            ConsentError: NOT_FOUND, SPENT.
            StorageError: the store takes nothing now.
        """
        row = await self._reads.challenge(caller.tenant, challenge.value)
        consent = await self._reads.consent_to(caller.tenant, challenge.value)
        if row is None or row.account != caller.account.value or consent is None:
            raise ConsentError(ConsentReason.NOT_FOUND)
        await self._consents.withdraw(caller.tenant, ConsentId(consent[0]))

    def _takes(self, caller: Caller) -> bool:
        return self._questions.takes(caller.tenant, ConsentKind.DEVICE_SIGNED)

    def _challenge(self, caller: Caller, found: SealedQuestion) -> Challenge | None:
        challenge = ChallengeId(found.row.id)
        try:
            key = self._keys.get(found.generation)
            commitment, number = unseal_question(key, caller.tenant_id, challenge, found.sealed)
        except (SealingError, StorageKeyError):
            # Moved to another generation between the read and here: the caller comes again.
            raise StorageError(StorageReason.OVERLOADED) from None
        about = About(
            caller.tenant, caller.tenant_id, SubjectId(found.row.subject), MessageId(found.row.message), number
        )
        return self._questions.challenge(found.row, about, commitment)

    async def _key(self, caller: Caller) -> tuple[int, PublicKey]:
        """The device's envelope-and-receipt key on the account's newest list, and that list's version."""
        account = await self._accounts.account(caller.tenant, caller.account.value)
        try:
            entry = None if account is None else parse_signed(account.signed).content.find(caller.device)
        except DeviceListError:
            entry = None
        if account is None or entry is None:
            raise ConsentError(ConsentReason.DEVICE_NOT_LISTED)
        return account.version, entry.envelope_key

    def _check(self, shown: Challenge, said: Said, signature: bytes, key: PublicKey) -> None:
        try:
            answered_by_device(shown, _ANSWER[said], Signature.parse(signature), key, self._clock.now_ms())
        except SignatureError:
            raise ConsentError(ConsentReason.SIGNATURE_REFUSED) from None
        except TermsError as error:
            if error.reason is TermsReason.EXPIRED:
                raise ConsentError(ConsentReason.EXPIRED) from None
            # A no is an answer too, and its signature was checked before that was said.
            if error.reason is not TermsReason.REFUSED:
                raise ConsentError(ConsentReason.SIGNATURE_REFUSED) from None
