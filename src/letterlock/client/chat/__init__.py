"""A conversation between people on the SDK: contacts, what is shown and in which words, and the session's loop.

Nothing here knows a terminal; the command ``letterlock chat`` brings lines in and prints what comes out.
"""
