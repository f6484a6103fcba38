"""What the writer does for the delivery service: one handler a command."""

from letterlock.storage import attachment_commands as a
from letterlock.storage import delivery_commands as d
from letterlock.storage import push_commands as p
from letterlock.storage import receipt_commands as r
from letterlock.storage import relay_commands as c
from letterlock.storage import waiting_commands as w
from letterlock.storage.sqlite import (
    attachment_ops,
    delivery_ops,
    push_ops,
    receipt_ops,
    relay_devices,
    relay_eras,
    relay_groups,
    relay_mail,
    relay_public,
    relay_stuck,
)
from letterlock.storage.sqlite.core import Handler
from letterlock.storage.sqlite.transaction import Transaction


def relay_handlers() -> dict[type, Handler]:
    """The handlers to give to the store's writer."""
    return {
        c.CreateAccount: relay_devices.create_account,
        c.PublishDeviceList: relay_devices.publish_device_list,
        c.LogIn: relay_devices.log_in,
        c.LogOut: relay_devices.log_out,
        c.RaiseCounter: relay_devices.note_counter,
        c.NoteFinding: relay_public.note_finding,
        c.PutKeyPackages: relay_devices.put_key_packages,
        c.ClearKeyPackages: relay_devices.clear_key_packages,
        c.ClaimKeyPackages: relay_devices.claim_key_packages,
        c.CreateGroup: relay_groups.create_group,
        c.CommitGroup: relay_groups.commit_group,
        c.AdvanceEra: relay_eras.advance_era,
        c.ReportCommit: relay_stuck.report_commit,
        c.AnchorGroup: relay_public.anchor_group,
        c.ResetMailbox: relay_mail.reset_mailbox,
        w.LookAtWaiting: relay_mail.look_at_waiting,
        w.SettleWaiting: relay_mail.settle_waiting,
        c.LoseMailbox: relay_mail.lose_mailbox,
        c.PurgeRelay: _purge,
        a.BeginAttachment: attachment_ops.begin_attachment,
        a.AppendAttachment: attachment_ops.append_attachment,
        a.ReleaseAttachment: attachment_ops.release_attachment,
        a.PurgeAttachments: attachment_ops.purge_attachments,
        d.AddTokens: delivery_ops.add_tokens,
        d.RevokeTokens: delivery_ops.revoke_tokens,
        d.PurgeTokens: delivery_ops.purge_tokens,
        d.AcceptDelivery: delivery_ops.accept_delivery,
        r.HandReceipts: receipt_ops.hand_receipts,
        r.JudgeReceipts: receipt_ops.judge_receipts,
        p.PutSubscription: push_ops.put_subscription,
        p.DropSubscription: push_ops.drop_subscription,
        p.PurgeSubscriptions: push_ops.purge_subscriptions,
    }


def _purge(tx: Transaction, command: c.PurgeRelay) -> c.RelayPurged:
    relay_public.expire_groups(tx, command.now_ms)
    return relay_mail.purge_relay(tx, command)
