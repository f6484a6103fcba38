"""Simulated phones in processes of their own: the device SDK under a profile, told what to do in JSON lines.

``python -m letterlock.lab.phones --profile ios-26.3`` runs one; :class:`PhoneProcess` starts and drives one. Profiles
differ in what a phone says of itself; the cryptography is the same.
"""

from letterlock.lab.phones.process import PhoneError, PhoneProcess
from letterlock.lab.phones.profile import ANDROID_RCS, IOS_26_3, PROFILES, Profile

__all__ = ["ANDROID_RCS", "IOS_26_3", "PROFILES", "PhoneError", "PhoneProcess", "Profile"]
