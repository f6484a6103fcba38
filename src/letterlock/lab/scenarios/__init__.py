"""Mixed messages of which the laboratory knows the truth, and what the gateway and the devices showed of them.

``python -m letterlock.lab.scenarios --count 10000`` prints the confusion matrix.
"""

from letterlock.lab.scenarios.matrix import Matrix
from letterlock.lab.scenarios.run import Outcome, play
from letterlock.lab.scenarios.truth import Shown, Truth

__all__ = ["Matrix", "Outcome", "Shown", "Truth", "play"]
