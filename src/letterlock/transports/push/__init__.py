"""Waking devices that are not connected: one port, and a driver for each kind of push service."""
