"""A push service for tests and demonstrations: real HTTP on loopback, every rule checked, messages really decrypted."""

from letterlock.lab.push.agent import UserAgent
from letterlock.lab.push.service import LabPushService, PushFault, Woken

__all__ = ["LabPushService", "PushFault", "UserAgent", "Woken"]
