"""Bytes to objects and back: strict, total, bounded; no I/O.

A parser here gives a value or its typed error for every input, consumes the input to its last byte, and bounds what
it builds by named constants. An error carries a reason and numbers, never a byte of what was read.
"""
