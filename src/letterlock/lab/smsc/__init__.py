"""A message centre for tests and demonstrations: real SMPP 3.4 on a real socket, phones in memory, faults on demand.

``python -m letterlock.lab.smsc`` runs one as a process; :class:`LabSmsc` runs one in an event loop.
"""

from letterlock.lab.smsc.behaviour import Behaviour, Fault, FaultKind, ReceiptForm, ReceiptOrder
from letterlock.lab.smsc.centre import LabSmsc
from letterlock.lab.smsc.phone import Phone, ReceivedSms

__all__ = ["Behaviour", "Fault", "FaultKind", "LabSmsc", "Phone", "ReceiptForm", "ReceiptOrder", "ReceivedSms"]
