"""Measurements: what the gateway costs a message, beside the limits of the machine, in one run."""
