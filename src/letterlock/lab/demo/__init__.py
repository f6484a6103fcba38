"""The demonstration: a gateway in a process of its own, two devices with a real MLS engine, proofs and a sweep."""
