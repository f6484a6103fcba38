"""What a phone says of itself. No profile is a certified statement about a vendor's phone."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of phone.

    Attributes:
        name: for the command line.
        title: for people.
        tags: on its line of the account's signed device list.
        read_receipts: whether it sends one for each message as soon as it shows it.
    """

    name: str
    title: str
    tags: frozenset[str]
    read_receipts: bool


IOS_26_3: Final = Profile("ios-26.3", "iOS 26.3 (lab profile)", frozenset({"mls10", "rcs", "ios-26.3"}), False)
ANDROID_RCS: Final = Profile("android-rcs", "Android RCS (lab profile)", frozenset({"mls10", "rcs", "android"}), True)
PROFILES: Final = {profile.name: profile for profile in (IOS_26_3, ANDROID_RCS)}
