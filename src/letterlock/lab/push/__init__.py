"""Push services for tests and demonstrations: real HTTP on loopback, every rule checked, messages really decrypted."""

from letterlock.lab.push.agent import UserAgent
from letterlock.lab.push.apple import LabApns
from letterlock.lab.push.google import LabFcm
from letterlock.lab.push.service import LabPushService, Woken
from letterlock.lab.push.serving import PushFault

__all__ = ["LabApns", "LabFcm", "LabPushService", "PushFault", "UserAgent", "Woken"]
