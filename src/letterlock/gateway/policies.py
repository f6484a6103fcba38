"""The proven policies in force: one for each profile that a tenant has, under one version."""

from letterlock.policy.proof import ProvenPolicy


class Policies:
    """Implements what decisions need of policy.

    Args:
        default: for tenants without a profile of their own.
        by_tenant: tenant number to its policy.
        version: of all of them together; the writer compares it.
    """

    def __init__(self, default: ProvenPolicy, by_tenant: dict[int, ProvenPolicy], version: int) -> None:
        self._default = default
        self._by_tenant = by_tenant
        self.version = version

    def of(self, tenant: int) -> ProvenPolicy:
        """A tenant's policy."""
        return self._by_tenant.get(tenant, self._default)
