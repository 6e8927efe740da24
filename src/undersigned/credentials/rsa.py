"""BlindSign of RFC 9474 over OpenSSL's EVP, with the fault check ``s^e = m``.

``cryptography`` has no raw RSA, so libcrypto is called through ctypes with
RSA_NO_PADDING (PROTOCOL §6). OpenSSL blinds the private operation itself. The result
is raised to e again before it leaves: a fault in the CRT computation would otherwise
hand out a value from which the key can be factored.

The private operation gives up the interpreter lock, so that signing threads run beside
the event loop. The short calls around it keep the lock: having it back takes longer
than they do where the event loop is busy.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from undersigned_verify import token

from undersigned.kernel.errors import StorageFailed, Unavailable

MODULUS_BYTES = 256
_RSA_NO_PADDING = 3


class IssuerKeyWeak(Unavailable):
    """The issuer key is not a 2048-bit RSA key with e = 65537."""

    code: ClassVar[str] = "issuer-key-weak"


def _load_libcrypto() -> tuple[ctypes.PyDLL, ctypes.CDLL]:
    for name in ("libcrypto.so.3", ctypes.util.find_library("crypto")):
        if not name:
            continue
        try:
            keeping, yielding = ctypes.PyDLL(name), ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(keeping, "EVP_PKEY_sign_init"):
            return keeping, yielding
    raise StorageFailed("OpenSSL's libcrypto (3.x) was not found on this machine")


# The same library twice: calls through the first keep the interpreter lock.
_lib, _yielding_lib = _load_libcrypto()
_p = ctypes.c_void_p
_lib.d2i_AutoPrivateKey.restype = _p
_lib.d2i_AutoPrivateKey.argtypes = [_p, ctypes.POINTER(_p), ctypes.c_long]
_lib.d2i_PUBKEY.restype = _p
_lib.d2i_PUBKEY.argtypes = [_p, ctypes.POINTER(_p), ctypes.c_long]
_lib.EVP_PKEY_free.argtypes = [_p]
_lib.EVP_PKEY_CTX_new.restype = _p
_lib.EVP_PKEY_CTX_new.argtypes = [_p, _p]
_lib.EVP_PKEY_CTX_free.argtypes = [_p]
for _name in ("EVP_PKEY_sign_init", "EVP_PKEY_verify_recover_init"):
    getattr(_lib, _name).argtypes = [_p]
_lib.EVP_PKEY_CTX_set_rsa_padding.argtypes = [_p, ctypes.c_int]
_sign, _verify_recover = _yielding_lib.EVP_PKEY_sign, _lib.EVP_PKEY_verify_recover
for _operation in (_sign, _verify_recover):
    _operation.argtypes = [
        _p,
        ctypes.c_char_p,
        ctypes.POINTER(ctypes.c_size_t),
        ctypes.c_char_p,
        ctypes.c_size_t,
    ]


class BlindSigner:
    """One issuer key, loaded into OpenSSL. Safe to use from several threads."""

    def __init__(self, der: bytes) -> None:
        """Load a PKCS#8 or PKCS#1 DER key. Raises IssuerKeyWeak."""
        try:
            key = load_der_private_key(der, password=None)
        except (ValueError, TypeError) as error:
            raise IssuerKeyWeak(reason="unreadable") from error
        if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != 2048:
            raise IssuerKeyWeak(reason="not RSA-2048")
        public = key.public_key().public_numbers()
        if public.e != 65537:
            raise IssuerKeyWeak(reason="e is not 65537")
        self.n = public.n
        self.spki = token.encode_spki(public.n)
        self.key_id = token.key_id(self.spki)
        buffer = ctypes.create_string_buffer(der, len(der))
        at = ctypes.c_void_p(ctypes.addressof(buffer))
        self._pkey = _lib.d2i_AutoPrivateKey(None, ctypes.byref(at), len(der))
        if not self._pkey:
            raise IssuerKeyWeak(reason="OpenSSL refuses it")

    def __del__(self) -> None:
        pkey = getattr(self, "_pkey", None)
        if pkey:
            _lib.EVP_PKEY_free(pkey)
            self._pkey = None

    def blind_sign(self, blinded: bytes) -> bytes:
        """Return the 256-byte blind signature of a 256-byte blinded message.

        Raises ValueError if the message is not below the modulus, StorageFailed if
        OpenSSL fails or its result does not verify (a fault: nothing must leave).
        """
        if len(blinded) != MODULUS_BYTES or int.from_bytes(blinded) >= self.n:
            raise ValueError("the blinded message is not below the modulus")
        signed = self._run(_lib.EVP_PKEY_sign_init, _sign, blinded)
        again = self._run(_lib.EVP_PKEY_verify_recover_init, _verify_recover, signed)
        if again != blinded:
            raise StorageFailed("a blind signature failed its own check")
        return signed

    def _run(self, init: object, operation: object, data: bytes) -> bytes:
        return _run(self._pkey, init, operation, data)


class RawPublicKey:
    """The public operation alone, for clients that blind many messages."""

    def __init__(self, n: int) -> None:
        """Load the key of modulus ``n`` and e = 65537."""
        public = rsa.RSAPublicNumbers(65537, n).public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        buffer = ctypes.create_string_buffer(der, len(der))
        at = ctypes.c_void_p(ctypes.addressof(buffer))
        self._pkey = _lib.d2i_PUBKEY(None, ctypes.byref(at), len(der))
        if not self._pkey:
            raise StorageFailed("OpenSSL refuses a public key")

    def __del__(self) -> None:
        pkey = getattr(self, "_pkey", None)
        if pkey:
            _lib.EVP_PKEY_free(pkey)
            self._pkey = None

    def power(self, value: int) -> int:
        """Return value^e mod n, for 0 <= value < n. A fifth of what ``pow`` takes."""
        data = value.to_bytes(MODULUS_BYTES)
        recovered = _run(
            self._pkey,
            _lib.EVP_PKEY_verify_recover_init,
            _verify_recover,
            data,
        )
        return int.from_bytes(recovered)


def _run(pkey: object, init: object, operation: object, data: bytes) -> bytes:
    context = _lib.EVP_PKEY_CTX_new(pkey, None)
    try:
        out = ctypes.create_string_buffer(MODULUS_BYTES)
        length = ctypes.c_size_t(MODULUS_BYTES)
        if (
            init(context) != 1  # type: ignore[operator]  # ctypes functions
            or _lib.EVP_PKEY_CTX_set_rsa_padding(context, _RSA_NO_PADDING) != 1
            or operation(context, out, ctypes.byref(length), data, len(data)) != 1  # type: ignore[operator]  # ctypes functions
        ):
            raise StorageFailed("OpenSSL refused an RSA operation")
        return out.raw[: length.value].rjust(MODULUS_BYTES, b"\0")
    finally:
        _lib.EVP_PKEY_CTX_free(context)


def make_key() -> bytes:
    """Return a fresh RSA-2048 key as PKCS#8 DER (about 0.1 s)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
