"""Consumes events: metrics now; detectors, alerts and playbooks later."""
