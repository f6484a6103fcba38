"""What people read when the secure path does not carry a message: English, keyed by enum, at most two sentences each.

A translation is another set of these tables; a key without a text fails a test. The words for indicators stand beside
the indicators (``assurance.indicator``).
"""

from typing import Final

from letterlock.assurance.causes import Cause, ConsentScope, Says
from letterlock.assurance.consent import Alternative
from letterlock.assurance.fallback import FallbackState
from letterlock.assurance.faults import FaultOutcome, Repair
from letterlock.model.protection import ConsentKind, Protection

CAUSE: Final[dict[Cause, str]] = {
    Cause.SENDER_CHOSE: "You chose a less protected way for this message.",
    Cause.PEER_HAS_NO_DEVICE: "The other side has no device that can receive encrypted messages.",
    Cause.PEER_DEVICE_CANNOT: "One of the other side's devices cannot receive encrypted messages yet.",
    Cause.NO_DEVICE_KNOWN: "We know of no device of the other side that can receive encrypted messages.",
    Cause.PEER_CANNOT_DECRYPT: "The other side's device says that it could not open the message.",
    Cause.PEER_ENDED_ENCRYPTION: "Somebody in this conversation turned encryption off.",
    Cause.CAPABILITY_VANISHED: "The other side could receive encrypted messages before, and now seems not to.",
    Cause.KEY_PACKAGES_EMPTY: "The other side's devices have to come online before an encrypted message can be sent.",
    Cause.HANDSHAKE_FAILED: "Setting up encryption did not work.",
    Cause.RELAY_UNREACHABLE: "The encrypted service cannot be reached at the moment.",
    Cause.FAILURE_REPORTED: "The network says that the message could not be delivered, and nobody can confirm it.",
    Cause.TIMED_OUT: "There was no answer in time.",
}

SAYS: Final[dict[Says, str]] = {
    Says.SENDER: "You said so.",
    Says.SIGNED_DEVICE_LIST: "The other side's own signed list of devices says so.",
    Says.PEER_DEVICE: "A device of the other side signed this.",
    Says.LOGGED_STATEMENT: "This service says so, on record.",
    Says.NOBODY_PROVEN: "Nobody could prove it.",
}

SCOPE: Final[dict[ConsentScope, str]] = {
    ConsentScope.THIS_MESSAGE: "This holds for this one message.",
    ConsentScope.UNTIL_SECURE: "This holds for this conversation until it can be encrypted again.",
}

ALTERNATIVE: Final[dict[Alternative, str]] = {
    Alternative.WAIT: "Wait and send it encrypted as soon as that works.",
    Alternative.DISCARD: "Do not send it.",
    Alternative.NOTICE_ONLY: "Send only a notice that a message is waiting, without its content.",
}

CONSENT_KIND: Final[dict[ConsentKind, str]] = {
    ConsentKind.DEVICE_SIGNED: "The sender agreed on their own device.",
    ConsentKind.TENANT_ASSERTED: "The sender's organisation says that the sender agreed.",
    ConsentKind.POLICY: "A written policy allows it. Nobody was asked.",
}

LOSS: Final[dict[Protection, str]] = {
    Protection.CLEAR: "Anybody on the way can read it.",
    Protection.HOP: "Servers on the way can read it.",
    Protection.PROVIDER: "A provider on the way can read it.",
    Protection.ENCLAVE: "It can be read inside checked hardware.",
    Protection.ESCROWED: "Several named people together can open a sealed copy.",
    Protection.E2EE: "Only you and the other side can read it.",
    Protection.UNKNOWN: "It is not known who can read it.",
}

STATE: Final[dict[FallbackState, str]] = {
    FallbackState.SECURE_PENDING: "Sending encrypted.",
    FallbackState.FAILURE_UNPROVEN: "Not sent yet. A failure was reported that nobody could prove, so we try again.",
    FallbackState.SECURE_FAILED: "Not sent. It cannot be sent encrypted at the moment.",
    FallbackState.HELD: "Held: not sent. It waits for a secure path.",
    FallbackState.CHALLENGED: "Not sent. It needs your answer.",
    FallbackState.CONSENTED: "You agreed to a less protected way. It is about to be sent.",
    FallbackState.POLICY_ALLOWED: "A written policy allows a less protected way. It is about to be sent.",
    FallbackState.REFUSED: "You said no. It was not sent.",
    FallbackState.EXPIRED: "Nobody answered in time. It was not sent.",
    FallbackState.WITHDRAWN: "You took it back. It was not sent.",
    FallbackState.SENT_SECURE: "Sent encrypted.",
    FallbackState.SENT_DOWNGRADED: "Sent less protected than usual.",
    FallbackState.NOT_SENT: "Not sent.",
}

OUTCOME: Final[dict[FaultOutcome, str]] = {
    FaultOutcome.HOLD: "Held: not sent. We try again.",
    FaultOutcome.REFUSE: "Refused: not sent.",
}

REPAIR: Final[dict[Repair, str]] = {
    Repair.RETRY: "Send it again.",
    Repair.RESYNC: "Your device catches up with the conversation and sends it again.",
    Repair.REWELCOME: "Somebody in the conversation has to add the device again.",
    Repair.REPLENISH: "It works as soon as one of the other side's devices is online.",
    Repair.RENEW_CREDENTIAL: "The device has to renew its credentials.",
    Repair.NEW_ERA: "The conversation has to be set up anew with encryption.",
    Repair.PEOPLE: "Somebody on the way may be interfering. Please tell the people who run this service.",
}
