"""The ImageNet checkpoints that the networks start from, and how to obtain them."""

from pathlib import Path

from pydantic import BaseModel

from bench.artefacts import IMAGENET
from bench.errors import UserError
from bench.fetch import fetch
from bench.schema import Pretrained


def checkpoint(name: str, folder: Path) -> Path:
    """Return the path in `folder` of the ImageNet checkpoint `name`, downloading it first when needed.

    `name` is a key of IMAGENET. Raises UserError for an unknown name and as bench.fetch.fetch does.
    """
    if name not in IMAGENET:
        raise UserError(f"no ImageNet weights are known for {name!r} - use one of {', '.join(IMAGENET)}")
    return fetch(IMAGENET[name], folder)


def pins(settings: BaseModel) -> dict[str, str | None]:
    """The ImageNet checkpoints that networks in a validated block of settings start from: name -> SHA-256.

    Part of the key of an item that trains such networks, because other weights give other results.
    """
    names = {settings.checkpoint} if isinstance(settings, Pretrained) else set()
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if isinstance(value, BaseModel):
            names.update(pins(value))
    return {name: IMAGENET[name].sha256 for name in sorted(name for name in names if name)}
