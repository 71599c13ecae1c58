"""Encryption at rest: AES-256-GCM, a key for each subject, each wrapped by one master key.

The database holds the wrapped keys, a file outside it the master key. Whoever has only the
database, or only a backup of it, has noise; and whoever erases a subject destroys the one key to
everything of that subject. What was sealed for one sample opens nowhere else, because its place is
authenticated with it.
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
    """Where a sealed value belongs: it opens there and nowhere else."""

    gallery: int
    token: str
    """The subject's random name."""
    sample_id: str = ""
    generation: int = 0
    """0 for silhouettes, which belong to every generation."""

    def __bytes__(self) -> bytes:
        """Write it as the data that is authenticated beside the ciphertext."""
        return f"{self.gallery}/{self.token}/{self.sample_id}/{self.generation}".encode()


class Cipher:
    """Seals bytes under one key, each time with a fresh random nonce that stands before them."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(key)

    def seal(self, data: bytes, slot: Slot) -> bytes:
        """Encrypt `data` for `slot`."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, bytes(slot))

    def open(self, sealed: bytes, slot: Slot) -> bytes:
        """Decrypt what was sealed for `slot`.

        Raises:
            StoreUnavailable: it was sealed under another key or for another place, or altered.

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
        # The key has 256 random bits, so its digest leads nobody back to it.
        self.fingerprint = hashlib.sha256(b"metagait master key\0" + secret).hexdigest()[:32]

    @classmethod
    def generate(cls) -> tuple[Self, bytes]:
        """Make a new one; returns its bytes as well, to be kept in a file."""
        secret = secrets.token_bytes(KEY_BYTES)
        return cls(secret), secret

    def new_subject_key(self, slot: Slot) -> bytes:
        """Make a key for a subject; returns it wrapped."""
        return self._cipher.seal(secrets.token_bytes(KEY_BYTES), slot)

    def unwrap(self, wrapped: bytes, slot: Slot) -> Cipher:
        """Open the key of a subject.

        Raises:
            StoreUnavailable: it is not the subject's, or another master key wrapped it.

        """
        return Cipher(self._cipher.open(wrapped, slot))

    def rewrap(self, wrapped: bytes, slot: Slot, old: "MasterKey") -> bytes:
        """Wrap a key that `old` wrapped."""
        return self._cipher.seal(old._cipher.open(wrapped, slot), slot)


@dataclass(frozen=True)
class Vault:
    """What a store seals and opens with: the master key, or nothing."""

    master: MasterKey | None = None

    def new_key(self, gallery: int, token: str) -> bytes | None:
        """Make a wrapped key for a new subject; None where nothing is encrypted."""
        return None if self.master is None else self.master.new_subject_key(Slot(gallery, token))

    def seal(self, data: bytes, wrapped: bytes | None, slot: Slot) -> bytes:
        """Encrypt `data` under the subject's key; as it is where the subject has none."""
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
