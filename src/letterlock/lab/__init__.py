"""The device and carrier laboratory: counterparts that behave like the real ones, faults included.

Imports only ``model``, ``wire``, ``assurance`` and ``client``; it sees the gateway from outside, as a process.
"""
