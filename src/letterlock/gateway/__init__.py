"""The use cases: accept, dispatch, receipts, tenants."""
