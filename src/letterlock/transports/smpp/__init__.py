"""SMS over SMPP 3.4: the client side (ESME), on asyncio, over the sans-IO session of ``wire.sms``."""

from letterlock.transports.smpp.client import SmppClient
from letterlock.transports.smpp.config import Endpoint, PlainText, SmppConfig
from letterlock.transports.smpp.errors import LinkFault, Outcome, SubmitError, SubmitReason
from letterlock.transports.smpp.values import Inbound, LinkState, ReceiptNotice, SubmitResult

__all__ = [
    "Endpoint",
    "Inbound",
    "LinkFault",
    "LinkState",
    "Outcome",
    "PlainText",
    "ReceiptNotice",
    "SmppClient",
    "SmppConfig",
    "SubmitError",
    "SubmitReason",
    "SubmitResult",
]
