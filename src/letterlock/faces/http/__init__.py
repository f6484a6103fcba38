"""The native HTTP API ``/v1`` and the device stream."""
