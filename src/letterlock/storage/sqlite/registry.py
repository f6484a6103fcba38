"""Which handler each command has: the one list that the writer is made with."""

from letterlock.storage import maintenance_commands, tenant_commands
from letterlock.storage.commands import AcceptRcs, Quarantine
from letterlock.storage.sqlite import (
    intent_ops,
    interval_ops,
    maintenance_ops,
    message_ops,
    rcs_ops,
    tenant_ops,
    toggle_ops,
)
from letterlock.storage.sqlite.core import Handler
from letterlock.storage.sqlite.open_ops import open_handlers
from letterlock.storage.sqlite.relay_ops import relay_handlers


def handlers() -> dict[type, Handler]:
    """All handlers but those of the hot path."""
    return {
        **relay_handlers(),
        **open_handlers(),
        Quarantine: message_ops.quarantine,
        AcceptRcs: rcs_ops.accept_rcs,
        maintenance_commands.Purge: maintenance_ops.purge,
        maintenance_commands.ForgetMessage: maintenance_ops.forget_message,
        maintenance_commands.CountReferences: maintenance_ops.count_references,
        maintenance_commands.Rewrap: maintenance_ops.rewrap_rows,
        maintenance_commands.CloseIntervals: interval_ops.close_intervals,
        maintenance_commands.SaveCheckpoint: maintenance_ops.save_checkpoint,
        maintenance_commands.IntendDestruction: intent_ops.intend_destruction,
        maintenance_commands.Destroyed: intent_ops.destroyed,
        maintenance_commands.IntendErasure: intent_ops.intend_erasure,
        maintenance_commands.EndErasure: intent_ops.end_erasure,
        maintenance_commands.RecordEvent: maintenance_ops.record_event,
        tenant_commands.AddTenant: tenant_ops.add_tenant,
        tenant_commands.AddApiKey: tenant_ops.add_api_key,
        tenant_commands.RevokeApiKey: tenant_ops.revoke_api_key,
        tenant_commands.SetE2eeFirst: toggle_ops.set_e2ee_first,
        tenant_commands.PolicyLoaded: tenant_ops.policy_loaded,
    }
