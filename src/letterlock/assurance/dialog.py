"""A challenge as JSON: the same block in the API's 409, in the console's dialog and on the device that signs.

A device rebuilds the terms from the block, puts them into words of its own (:mod:`.rendering`) and signs them, so what
a person was shown is what the answer is bound to. A block holds closed words and values, and no sentence.
"""

from collections.abc import Mapping
from typing import Final, cast

from letterlock.assurance.causes import OFFERS, Cause, ConsentScope
from letterlock.assurance.consent import Alternative, Challenge, ConsentError, ConsentReason, Terms
from letterlock.model.capability import Channel
from letterlock.model.ids import ChallengeId, MessageId, SubjectId, TenantId
from letterlock.model.protection import Protection

MAX_ALTERNATIVES: Final = len(Alternative)


def challenge_block(challenge: Challenge) -> dict[str, object]:
    """A challenge under stable names, in JSON types.

    ``challenge``, ``tenant``, ``environment``, ``conversation``, ``message``, ``body_commitment``, ``destination``,
    ``route``, ``row_version``, ``from``, ``to``, ``readers``, ``reason``, ``source``, ``policy_hash``,
    ``transcript``, ``scope``, ``expires_ms``, ``nonce``, ``alternatives``. It holds the destination: it goes to the
    sender, and into no log.
    """
    terms = challenge.terms
    says = OFFERS[terms.cause].says
    return {
        "challenge": str(challenge.challenge),
        "tenant": str(terms.tenant),
        "environment": terms.environment,
        "conversation": str(terms.conversation),
        "message": str(terms.message),
        "body_commitment": terms.body_commitment.hex(),
        "destination": terms.destination,
        "route": terms.route.value,
        "row_version": terms.row_version,
        "from": terms.before.value,
        "to": terms.after.value,
        "readers": list(terms.readers),
        "reason": terms.cause.value,
        "source": says.value,
        "policy_hash": terms.policy_hash.hex(),
        "transcript": terms.transcript.hex(),
        "scope": terms.scope.value,
        "expires_ms": terms.expires_ms,
        "nonce": terms.nonce.hex(),
        "alternatives": [one.value for one in challenge.alternatives],
    }


def parse_challenge(block: Mapping[str, object]) -> Challenge:
    """Reads a block as a device does before it shows and signs it. ``source`` is not read: it follows.

    Raises:
        ConsentError: MALFORMED; whatever is missing, mistyped, misspelt or out of bounds.
    """
    readers, alternatives = _list(block, "readers"), _list(block, "alternatives")
    if len(alternatives) > MAX_ALTERNATIVES:
        raise ConsentError(ConsentReason.MALFORMED)
    try:
        terms = Terms(
            tenant=TenantId.parse(_text(block, "tenant")),
            environment=_text(block, "environment"),
            conversation=SubjectId.parse(_text(block, "conversation")),
            message=MessageId.parse(_text(block, "message")),
            body_commitment=_digest(block, "body_commitment"),
            destination=_text(block, "destination"),
            route=Channel(_text(block, "route")),
            row_version=_number(block, "row_version"),
            before=Protection(_text(block, "from")),
            after=Protection(_text(block, "to")),
            readers=tuple(readers),
            cause=Cause(_text(block, "reason")),
            policy_hash=_digest(block, "policy_hash"),
            transcript=_digest(block, "transcript"),
            scope=ConsentScope(_text(block, "scope")),
            expires_ms=_number(block, "expires_ms"),
            nonce=_digest(block, "nonce"),
        )
        return Challenge(
            ChallengeId.parse(_text(block, "challenge")), terms, tuple(Alternative(one) for one in alternatives)
        )
    except ValueError:
        raise ConsentError(ConsentReason.MALFORMED) from None


def _text(block: Mapping[str, object], name: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise ConsentError(ConsentReason.MALFORMED)
    return value


def _number(block: Mapping[str, object], name: str) -> int:
    value = block.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConsentError(ConsentReason.MALFORMED)
    return value


def _list(block: Mapping[str, object], name: str) -> list[str]:
    value = block.get(name)
    if not isinstance(value, list):
        raise ConsentError(ConsentReason.MALFORMED)
    values = cast("list[object]", value)
    found = [one for one in values if isinstance(one, str)]
    if len(found) != len(values):
        raise ConsentError(ConsentReason.MALFORMED)
    return found


def _digest(block: Mapping[str, object], name: str) -> bytes:
    text = _text(block, name)
    if text.strip("0123456789abcdef"):
        raise ConsentError(ConsentReason.MALFORMED)
    return bytes.fromhex(text)
