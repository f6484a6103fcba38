"""The proven policies in force: one for each profile that a tenant has, under one version."""

import asyncio
from typing import Final

from letterlock.gateway.writer import Writer
from letterlock.model.capability import CapabilityRow
from letterlock.model.clock import Clock
from letterlock.model.traces import USUAL, Traces
from letterlock.policy.file import profile_source
from letterlock.policy.proof import ProvenPolicy, prove
from letterlock.storage.tenant_commands import PolicyLoaded, TenantRow


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

    def give(self, tenant: int, policy: ProvenPolicy) -> None:
        """Gives a tenant a policy of its own; nothing was decided for this tenant before."""
        self._by_tenant[tenant] = policy


class Profiles:
    """Proves the shipped profiles that tenants have, and puts them in force, at the start and while it runs.

    Args:
        writer: records each policy that comes into force, and counts the version.
        clock: wall time.
        capabilities: what a policy is proven for.
        usual: the profile of the settings.
        default: the policy in force for it, proven.
        traces: gets the tenants of whose messages the store keeps less than usual; the writer has it too.
    """

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        capabilities: tuple[CapabilityRow, ...],
        usual: str,
        default: ProvenPolicy,
        traces: dict[int, Traces] | None = None,
    ) -> None:
        self._default: Final = default
        self._traces: Final = {} if traces is None else traces
        self._writer: Final = writer
        self._clock: Final = clock
        self._capabilities: Final = capabilities
        self._usual: Final = usual
        self._proven: Final[dict[str, ProvenPolicy]] = {}
        self.policies: Final = Policies(default, {}, 0)

    async def load(self, policy: ProvenPolicy) -> None:
        """Records a policy; from then on, decisions under an older version are made again.

        Raises:
            StorageError: the store takes nothing now; nothing changed.
        """
        cells = sum(1 for _ in policy.table())
        self.policies.version = await self._writer.run(PolicyLoaded(policy.hash, cells, self._clock.now_ms()))

    async def adopt(self, tenant: TenantRow) -> None:
        """Gives a tenant the policy of its profile, before anybody can send in its name.

        Raises:
            PolicyError: the profile is not proven for these capabilities.
            StorageError: the store takes nothing now.
        """
        profile = tenant.profile
        if profile == self._usual:
            self._leave(tenant.no, self._default)
            return
        found = self._proven.get(profile)
        if found is None:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(None, prove, profile_source(profile), self._capabilities)
            await self.load(found)
            self._proven[profile] = found
        self._leave(tenant.no, found)
        self.policies.give(tenant.no, found)

    def _leave(self, tenant: int, policy: ProvenPolicy) -> None:
        traces = policy.policy.metadata.traces
        if traces != USUAL:
            self._traces[tenant] = traces
