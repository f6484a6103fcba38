"""The face for software that was written for Twilio's Messages API: the official libraries, with another base URL.

What it takes goes through the same use case as ``POST /v1/messages``: the same floors, policy, questions and ledger.
What the API promises and this gateway does not do is refused with a code of its own, never left out in silence.
"""
