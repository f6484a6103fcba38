"""Push services for tests and demonstrations: real HTTP on loopback, every rule checked, messages really decrypted."""

from letterlock.lab.push.agent import UserAgent
from letterlock.lab.push.apple import AppleFault, LabApns
from letterlock.lab.push.google import GoogleFault, LabFcm
from letterlock.lab.push.service import LabPushService, PushFault, Woken

__all__ = ["AppleFault", "GoogleFault", "LabApns", "LabFcm", "LabPushService", "PushFault", "UserAgent", "Woken"]
