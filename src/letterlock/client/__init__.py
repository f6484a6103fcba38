"""The Python SDK: an MLS device, the tenant's API client. Imports only ``model``, ``wire`` and ``assurance``."""
