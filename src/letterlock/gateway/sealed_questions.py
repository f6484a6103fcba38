"""What devices are shown of a question beside its row: destination and commitment, sealed while nobody has answered."""

from letterlock.assurance.consent import ConsentError, ConsentReason
from letterlock.custody.sealing import Entropy, StorageKey, seal_address, unseal_address
from letterlock.model.ids import ChallengeId, TenantId
from letterlock.wire.preimage import HASH_BYTES
from letterlock.wire.sms.address import PhoneNumber
from letterlock.wire.sms.errors import AddressError


def seal_question(
    key: StorageKey,
    tenant: TenantId,
    challenge: ChallengeId,
    commitment: bytes,
    number: PhoneNumber,
    entropy: Entropy,
) -> bytes:
    """Seals both, padded as an address is, so that the length says nothing of the number."""
    return seal_address(key, tenant, challenge, commitment + number.e164().encode("ascii"), entropy)


def unseal_question(
    key: StorageKey, tenant: TenantId, challenge: ChallengeId, sealed: bytes
) -> tuple[bytes, PhoneNumber]:
    """Commitment and destination again.

    Raises:
        SealingError: the key is another one, or the blob is not authentic.
        ConsentError: MALFORMED.
    """
    opened = unseal_address(key, tenant, challenge, sealed)
    try:
        return opened[:HASH_BYTES], PhoneNumber.parse(opened[HASH_BYTES:].decode("ascii"))
    except (AddressError, UnicodeDecodeError):
        raise ConsentError(ConsentReason.MALFORMED) from None
