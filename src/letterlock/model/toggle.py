"""The E2EE-first toggle: what a tenant has chosen for all its conversations, or for one."""

from enum import Enum, unique


@unique
class Choice(Enum):
    """Which floor conversations have. It can only ask for more than policy does."""

    AS_POLICY = "as_policy"
    """What policy and records say."""
    E2EE_FIRST = "e2ee_first"
    """End-to-end encryption; anything less is a step down, with all that one needs."""
