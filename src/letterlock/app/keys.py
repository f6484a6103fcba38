"""Opening what holds keys: the key store, the storage keys, the vault, the ledger's signer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from letterlock.app.settings import Settings, secret
from letterlock.custody.file_keystore import FileKeyStore
from letterlock.custody.keystore import KeyHandle, KeyKind, KeyPurpose, KeyStore
from letterlock.custody.storage_keys import StorageKeys
from letterlock.custody.unlocking import Passphrase, RootKeyFile
from letterlock.custody.vault import Vault
from letterlock.custody.vault_file import VaultFile
from letterlock.wire.preimage import KeyFamily, PublicKey, Suite
from letterlock.wire.tlog.note import KeyType, VerifierKey
from letterlock.wire.tlog.words import MarkerHop

ROOT_KEY: Final = "root.key"
KEYSTORE: Final = "keys.store"
STORAGE_KEYS: Final = "storage.keys"
VAULT: Final = "vault.db"
SIGNER_NAME: Final = "ledger/signer"
DIGEST_NAME: Final = "gateway/digests"


@dataclass(frozen=True, slots=True)
class Keys:
    """All that holds keys, opened."""

    keystore: FileKeyStore
    storage: StorageKeys
    vault: Vault
    vault_file: VaultFile

    def derive(self, label: bytes) -> bytes:
        """A 32-byte key for one use, by the label; the same as long as the key store lives."""
        handle = self.keystore.ensure(DIGEST_NAME, KeyKind.MAC, KeyPurpose.REQUEST_DIGEST, b"")
        return self.keystore.mac(handle, KeyPurpose.REQUEST_DIGEST, b"derive", label)

    def close(self) -> None:
        """Closes all of it."""
        self.vault_file.close()
        self.storage.close()
        self.keystore.close()


def open_keys(settings: Settings, folder: Path) -> Keys:
    """Opens what holds keys, making it on the first start.

    Raises:
        SettingsError, KeyStoreError, SlotFileError, StorageKeyError, VaultError: it cannot be opened.
    """
    keystore = _keystore(settings, folder)
    storage_path = folder / STORAGE_KEYS
    storage = (StorageKeys.open if storage_path.exists() else StorageKeys.create)(storage_path, keystore)
    vault_file = VaultFile.open(folder / VAULT)
    return Keys(keystore, storage, Vault(vault_file, keystore), vault_file)


def root_file(settings: Settings, folder: Path) -> Path:
    """Where the key is that opens the key store, if no passphrase does."""
    return Path(settings.keystore.root_file) if settings.keystore.root_file else folder / ROOT_KEY


def secrets_folder(settings: Settings, folder: Path) -> Path:
    """Where a new secret goes that somebody has to fetch: beside the root key, which a copy of the store may lack."""
    return root_file(settings, folder).parent


def _keystore(settings: Settings, folder: Path) -> FileKeyStore:
    unlock: Passphrase | RootKeyFile
    path = folder / KEYSTORE
    if settings.keystore.passphrase:
        unlock = Passphrase(secret(settings.keystore.passphrase))
    else:
        root = root_file(settings, folder)
        # A new one never opens an old store: where there is one, a root key that is not found is an error.
        unlock = RootKeyFile(root) if path.exists() or root.exists() else RootKeyFile.create(root)
    return (FileKeyStore.open if path.exists() else FileKeyStore.create)(path, unlock)


class MarkerSigner:
    """The key of one of this server's hops, in the key store."""

    def __init__(self, keystore: KeyStore, hop: MarkerHop) -> None:
        self._keystore = keystore
        name = f"markers/{hop.value}"
        self._handle: KeyHandle = keystore.ensure(name, KeyKind.SIGN, KeyPurpose.SERVER_MARKER, b"")
        raw = keystore.public(self._handle, KeyPurpose.SERVER_MARKER, b"")
        self._public = PublicKey(KeyFamily.SERVER_MARKER, Suite.ED25519, raw)

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return self._public

    def sign_preimage(self, preimage: bytes) -> bytes:
        """See :class:`letterlock.wire.preimage.Signer`."""
        return self._keystore.sign(self._handle, KeyPurpose.SERVER_MARKER, b"", preimage)


class LedgerSigner:
    """The ledger's key, in the key store."""

    def __init__(self, keystore: KeyStore, origin: str) -> None:
        self._keystore = keystore
        self._handle: KeyHandle = keystore.ensure(SIGNER_NAME, KeyKind.SIGN, KeyPurpose.LEDGER_SIGNER, b"")
        public = keystore.public(self._handle, KeyPurpose.LEDGER_SIGNER, b"")
        self._key = VerifierKey(origin, KeyType.ED25519, public)

    @property
    def verifier_key(self) -> VerifierKey:
        """The public half; its name is the log's origin."""
        return self._key

    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature over the message."""
        return self._keystore.sign(self._handle, KeyPurpose.LEDGER_SIGNER, b"", message)
