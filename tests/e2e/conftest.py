"""The engines that devices of these tests run on."""

from tests.engines.adapters import chosen, sidecar

__all__ = ["chosen", "sidecar"]
