"""Policy's enums as the small numbers that rows hold: positions in these tuples, which only ever grow at the end."""

from typing import Final

from letterlock.policy.decision import Action, Fall, Indicator

INDICATORS: Final = tuple(Indicator)
ACTIONS: Final = tuple(Action)
FALLS: Final = tuple(Fall)
