"""Letterlock: a messaging gateway that knows, for every message, who can read it; and proves it."""

__version__ = "0.1.0.dev0"
