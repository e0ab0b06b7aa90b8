"""The files that come from the network, as bench/artefacts.yaml lists them."""

from pathlib import Path

import yaml

from bench.fetch import Artefact

MANIFEST = Path(__file__).with_suffix(".yaml")


def read_manifest(path: Path = MANIFEST) -> dict[str, dict[str, Artefact]]:
    """Kind (data, imagenet, sam) -> name -> artefact. Raises TypeError for an entry with missing or unknown keys."""
    kinds = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        kind: {name: Artefact(**{**entry, "urls": tuple(entry["urls"])}) for name, entry in entries.items()}
        for kind, entries in kinds.items()
    }


ARTEFACTS = read_manifest()
BUSI = ARTEFACTS["data"]["busi"]
IMAGENET = ARTEFACTS["imagenet"]
SAM = ARTEFACTS["sam"]
