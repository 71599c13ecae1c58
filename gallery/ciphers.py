"""Encryption at rest: AES-256-GCM, one key per subject, each wrapped by a master key.

The database holds the wrapped keys; the master key is in a file outside it. Somebody who has only
the database, or a backup of it, can read nothing; and erasing a subject destroys the only key to
everything about it. A value sealed for one sample cannot be opened in the place of another, because
its place is authenticated along with it.
"""

import hashlib
import os
import secrets
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gallery.errors import StoreUnavailable, WrongMasterKey

KEY_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True)
class Slot:
    """The place that a sealed value belongs to, and where alone it can be opened."""

    gallery: int
    token: str
    """The subject's random token."""
    sample_id: str = ""
    generation: int = 0
    """0 for silhouettes, which are shared by all generations."""

    def __bytes__(self) -> bytes:
        """Return it as the additional data that is authenticated with the ciphertext."""
        return f"{self.gallery}/{self.token}/{self.sample_id}/{self.generation}".encode()


class Cipher:
    """Encrypts bytes under one key, prefixing each ciphertext with a fresh random nonce."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(key)

    def seal(self, data: bytes, slot: Slot) -> bytes:
        """Encrypt `data` for `slot`."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, bytes(slot))

    def open(self, sealed: bytes, slot: Slot) -> bytes:
        """Decrypt a value that was sealed for `slot`.

        Raises:
            StoreUnavailable: it was altered, or sealed under another key or for another slot.

        """
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, rest, bytes(slot))
        except (InvalidTag, ValueError) as error:
            raise StoreUnavailable(
                f"expected what was encrypted for the sample {slot.sample_id or '(key)'} of "
                f"generation {slot.generation}, got {len(sealed)} bytes that were altered, moved, "
                "or encrypted under another key"
            ) from error


class MasterKey:
    """Wraps the keys of subjects; 32 secret bytes that are never in the database."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise WrongMasterKey(
                f"expected a master key of {KEY_BYTES} bytes, got {len(secret)} bytes"
            )
        self._cipher = Cipher(secret)
        # The key has 256 random bits, so its digest does not reveal it.
        self.fingerprint = hashlib.sha256(b"metagait master key\0" + secret).hexdigest()[:32]

    @classmethod
    def generate(cls) -> tuple[Self, bytes]:
        """Create a new key; also return its bytes, to be kept in a file."""
        secret = secrets.token_bytes(KEY_BYTES)
        return cls(secret), secret

    def new_subject_key(self, slot: Slot) -> bytes:
        """Create a key for a subject and return it wrapped."""
        return self._cipher.seal(secrets.token_bytes(KEY_BYTES), slot)

    def unwrap(self, wrapped: bytes, slot: Slot) -> Cipher:
        """Unwrap the key of a subject.

        Raises:
            StoreUnavailable: it belongs to another subject, or was wrapped by another master key.

        """
        return Cipher(self._cipher.open(wrapped, slot))

    def rewrap(self, wrapped: bytes, slot: Slot, old: "MasterKey") -> bytes:
        """Rewrap with this master key a subject's key that `old` wrapped."""
        return self._cipher.seal(old._cipher.open(wrapped, slot), slot)


@dataclass(frozen=True)
class Vault:
    """What a store encrypts with: a master key, or nothing."""

    master: MasterKey | None = None

    def new_key(self, gallery: int, token: str) -> bytes | None:
        """Return a wrapped key for a new subject; None if the store is not encrypted."""
        return None if self.master is None else self.master.new_subject_key(Slot(gallery, token))

    def seal(self, data: bytes, wrapped: bytes | None, slot: Slot) -> bytes:
        """Encrypt `data` under the subject's key; return it unchanged if the subject has none."""
        cipher = self._cipher(wrapped, slot)
        return data if cipher is None else cipher.seal(data, slot)

    def open(self, stored: bytes, wrapped: bytes | None, slot: Slot) -> bytes:
        """Decrypt what `seal` returned."""
        cipher = self._cipher(wrapped, slot)
        return stored if cipher is None else cipher.open(stored, slot)

    def _cipher(self, wrapped: bytes | None, slot: Slot) -> Cipher | None:
        if wrapped is None:
            return None
        if self.master is None:
            raise WrongMasterKey(
                "expected the master key that the subjects of this store are encrypted under, "
                "got none"
            )
        return self.master.unwrap(wrapped, Slot(slot.gallery, slot.token))
