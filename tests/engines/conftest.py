"""The fixtures of the engines' tests."""

from tests.engines.adapters import chosen, make, named, pair, sidecar

__all__ = ["chosen", "make", "named", "pair", "sidecar"]
