"""The limits of docs/protocol/devices.md, with their reasons there."""

from typing import Final

MAX_KEY_PACKAGE: Final = 16_384
MAX_KEY_PACKAGES_PUT: Final = 100
MAX_COMMIT: Final = 1 << 20
MAX_WELCOME: Final = 1 << 20
MAX_GROUP_INFO: Final = 1 << 20
MAX_GROUP_ID: Final = 255
MAX_BUNDLE: Final = 8 << 20
"""Bytes of a commit bundle as JSON: commit, GroupInfo and a few Welcomes of the largest size in base64."""
NONCE_LIFETIME_MS: Final = 60_000
NONCES_PER_DEVICE: Final = 8
MAX_NONCES: Final = 65_536
"""Open nonces in all: some 20 MB, and far more logins than a minute has."""
PAST_EPOCHS: Final = 4
SESSION_LIFETIME_MS: Final = 600_000
MAILBOX_ITEMS: Final = 100_000
MAILBOX_BYTES: Final = 256 << 20
MAILBOX_TTL_MS: Final = 30 * 86_400_000
CLAIMS_PER_HOUR: Final = 30
CLAIM_WINDOW_MS: Final = 3_600_000
CLAIMS_BY_CLAIMER: Final = 1_000
"""An hour: a claimer that adds every account of two of the largest groups."""
CLAIMS_OF_TARGET: Final = 500
"""An hour: every member of the largest group brings an account back."""
FIRST_CONTACTS: Final = 500
"""A day: accounts that a claimer never met, as many as the largest group has. Looking for who exists is slow."""
FIRST_CONTACT_WINDOW_MS: Final = 86_400_000
MAX_CLAIM_PAIRS: Final = 100_000
"""Pairs of accounts whose claims are counted: some 30 MB; beyond it the longest idle pair is forgotten."""
LISTS_PER_ANSWER: Final = 64
COMMITS_PER_ANSWER: Final = 100
ITEMS_PER_PAGE: Final = 1_000
PAGE_BYTES: Final = 4 << 20
"""Of sealed bodies in one page; a single larger item still comes alone."""
MAX_STATE_COUNTER: Final = 2**63 - 1
"""What every store can hold."""
ATTACHMENT_UPLOAD_MS: Final = 86_400_000
"""An upload that is not complete after a day was given up."""
ATTACHMENT_TTL_MS: Final = MAILBOX_TTL_MS
"""As long as the message that tells where it lies."""
ATTACHMENT_BYTES: Final = 512 << 20
"""An account, all its devices together: four of the largest kind and some small ones."""
ATTACHMENTS: Final = 1_000
"""An account."""
PIECES_PER_PURGE: Final = 64
"""16 MiB overwritten in one transaction: some tens of milliseconds of the writer."""
PUSH_TTL_MS: Final = 30 * 86_400_000
"""A subscription that its device has not confirmed for so long: the device will not be back before its mailbox is."""
TOKENS_LIVE: Final = 8_192
"""Delivery tokens of a device: more than a hundred contacts, and at most so many messages of strangers in a mailbox."""
TOKENS_AT_ONCE: Final = 1_024
TOKEN_TTL_MS: Final = 30 * 86_400_000
"""As long as a message waits; rounded up to the end of a day."""
DELIVERIES_AT_ONCE: Final = 64
"""Submissions without a session that are under way: whoever floods takes this much of us and no more."""
PUSHES_AT_ONCE: Final = 16
"""Open requests to push services: a slow one holds up neither the others nor our sockets."""
