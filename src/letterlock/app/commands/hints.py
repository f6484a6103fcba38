"""What to do about an error, and how the command ends on it. Errors say what happened; this says what helps."""

from typing import Final

from letterlock.app.commands.output import Exit

WHAT_TO_DO: Final[dict[str, str]] = {
    "settings_file_not_found": "check the path after --config",
    "settings_file_is_not_toml": "correct the file at the place named; the format is TOML 1.0",
    "settings_invalid": "correct the key named; `letterlock config explain --defaults` lists all keys and values",
    "secret_must_be_a_reference": "put the secret into an environment variable or a file of mode 0600, and name that",
    "secret_reference_leads_nowhere": "set the variable, or make the file, that the settings name",
    "secret_file_readable_by_others": "run chmod 600 on the file",
    "mls_root_refused": "give PEM files of P-256 root certificates that are valid now, and list suite 2 in mls.suites",
    "mls_suite_cannot_be_checked": "name suites of RFC 9420, 1 to 7; suite 1 is what letterlock.client speaks",
    "erasure_blocked_by_hold": "release the hold first; until then the person is not forgotten",
    "tls_required_beyond_loopback": "give a certificate and key, or listen on 127.0.0.1 behind a TLS proxy",
    "file_key_store_is_for_dev_alone": 'set environment = "dev"; drivers for real hardware are not built yet',
    "disk_full": "make room on the disk; nothing was half-written, and the gateway goes on where it was",
    "disk_failed": "check the disk (dmesg, smartctl); then run `letterlock fsck`",
    "store_used_by_another_process": "end the other gateway, or give this one another store.folder",
    "store_written_by_a_newer_version": "use the newer version that wrote it; going back is only by a restored backup",
    "store_damaged": "do not write to it; copy the folder, then restore the last backup and run `letterlock fsck`",
    "store_not_writable": "check owner and mode of the store's folder; it belongs to the user who runs the gateway",
    "in_use_by_another_process": "end the other gateway, or give this one another store.folder",
    "vault_in_use_by_another_process": "end the other gateway, or give this one another store.folder",
    "readable_by_group_or_others": "run chmod 600 on the key files in the store's folder",
    "owned_by_another_user": "run the gateway as the user to whom the store's folder belongs",
    "wrong_passphrase_or_root_key": "give the passphrase or root key with which this store was made",
    "slot_file_missing": "restore the root key, or name its file with keystore.root_file; no new one opens this store",
    "root_key_file_unusable": "restore root.key from where you keep it; without it nothing sealed can be opened",
    "store_behind_signed_head": "older than what was signed: restore the newest copy; never sign with this one",
    "store_contradicts_signed_head": "this store is not the log that was signed: keep it as evidence, restore a backup",
    "kept_head_not_ours": "the kept head is of another log or key: check ledger.head_file",
    "nothing_signed": "start the gateway; a head is signed within a second",
    "not_yet_signed": "wait for the next signed head, or give a smaller index",
    "rows_missing": "run `letterlock ledger verify`; it names the first missing entry",
    "other_bytes_there": "the directory holds another log, or was changed: export to an empty one and compare",
    "export_newer": "the store is older than the export: it was rolled back, or is another one",
    "not_found": "`letterlock tenant list` and `letterlock api-key list` say what is there",
    "engine_is_not_installed": "install the extra `client`: pip install 'letterlock[client]' (make env does)",
    "not_a_contact_line": "give the whole line that the other's `letterlock chat` printed: acc_<32 digits>:<32 digits>",
    "contact_line_is_your_own": "give the other person's contact line",
    "identity_key_is_not_that_of_the_contact_line": "nothing was sent; get the contact line again, another way",
    "not_a_gateway_address": "give --gateway as http://127.0.0.1:8480 or https://host",
    "plain_http_beyond_loopback": "use https, or a tunnel to loopback",
    "api_key_needed_to_enrol": "give the file of a tenant's API key with --api-key-file",
    "key_file_of_the_device_is_missing": "restore device.key beside the store; without it the store cannot be opened",
    "key_file_of_the_device_readable_by_others": "run chmod 600 on device.key",
    "key_file_of_the_device_unusable": "restore device.key beside the store; without it the store cannot be opened",
    "contact_is_not_known_to_the_gateway": "the other has to be enrolled at the same gateway",
    "gateway_does_not_take_this_device": "name the gateway of its enrolment; was it removed, start under a new name",
    "device_was_removed_from_its_account": "start under a new name to enrol another device",
    "device_connected_a_second_time": "another process runs on a copy of this device: end it; never copy the folder",
    "state_rolled_back": "this is an old copy of the device: start under a new name",
    "store_is_used_by_another_process": "end the other `letterlock chat` of this name",
    "unreachable": "start the gateway, or name it with --gateway",
    "unauthenticated": "give a live API key of this gateway with --api-key-file",
    "forbidden": "give an API key with the scope devices with --api-key-file",
    "log_key_of_a_server_missing": "give the public key of every server's log with --key",
    "next_marker_missing": "if the message is still under way, fetch the path again later; if not, it was removed",
    "peer_has_no_key_packages": "the other has to start `letterlock chat` once more; then try again",
}
"""From the stable code of a reason."""

_BY_TYPE: Final[dict[str, Exit]] = {
    "SettingsError": Exit.REFUSED,
    "StorageError": Exit.REFUSED,
    "KeyStoreError": Exit.REFUSED,
    "SlotFileError": Exit.REFUSED,
    "StorageKeyError": Exit.REFUSED,
    "VaultError": Exit.REFUSED,
    "PolicyError": Exit.REFUSED,
    "EngineError": Exit.REFUSED,
    "StoreError": Exit.REFUSED,
    "RelayError": Exit.REFUSED,
    "ChatError": Exit.REFUSED,
    "SigningError": Exit.FORKED_OR_ROLLED_BACK,
    "LedgerError": Exit.CANNOT_VERIFY,
    "PathError": Exit.TAMPERED,
    "PathIncompleteError": Exit.CANNOT_VERIFY,
    "NoteError": Exit.TAMPERED,
    "TreeError": Exit.TAMPERED,
    "TileError": Exit.TAMPERED,
    "EntryError": Exit.TAMPERED,
    "ProofFileError": Exit.TAMPERED,
}


def exit_for(error: Exception) -> Exit:
    """The exit code for one of our errors."""
    return _BY_TYPE.get(type(error).__name__, Exit.FINDING)


def what_to_do(error: Exception) -> str:
    """A sentence that helps; empty where there is none."""
    return WHAT_TO_DO.get(str(getattr(error, "reason", "")), "")
