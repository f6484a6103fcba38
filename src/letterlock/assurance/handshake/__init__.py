"""The session handshake: two ends sign what they can and what they saw, and nothing is delivered unless it agrees.

``machine`` is the one transition table, ``reasons`` says what follows from what, ``checks`` compares what was shown
with what is known, ``exchange`` puts the three together. docs/protocol/handshake.md is the protocol.
"""
