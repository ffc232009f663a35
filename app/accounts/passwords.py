"""Password hashes: argon2id with 19 MiB, two passes, one lane (OWASP), at most two at a time in one process.

The library's default cost would let a handful of sign-ins per second occupy the whole machine.
"""

from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
AT_ONCE = BoundedSemaphore(2)
LEAST = 8
MOST = 1024
"""Characters. The upper end only keeps the hash from chewing on a megabyte."""
NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$XcQn+22996JUNaW5xDCg7Q$TuHt+ckGq4jjDTrRcvHFPxTk+lE1fbnrAIteAy2a4qw"
"""A hash that no password is known for; checked when nobody has the e-mail, so that both cases take as long."""


def hash_password(password: str) -> str:
    """The hash that is stored."""
    with AT_ONCE:
        return HASHER.hash(password)


def matches(stored: str | None, password: str) -> bool:
    """Whether the password belongs to the hash. Takes as long when there is no hash."""
    with AT_ONCE:
        try:
            return HASHER.verify(stored or NOBODY, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(stored: str) -> bool:
    """Whether the hash was made with another cost and should be made anew at this sign-in."""
    return HASHER.check_needs_rehash(stored)
