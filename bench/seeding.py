"""Seeds drawn from named axes, so that nothing depends on the order in which things run."""

import hashlib


def seed_for(*parts: str | int) -> int:
    """A 63-bit seed from names and numbers, e.g. seed_for("augmentation", 0). The same parts give the same seed."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
