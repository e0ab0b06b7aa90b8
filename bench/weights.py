"""Where downloaded checkpoints lie; their content is pinned by SHA-256, so the place is no setting."""

import os
from pathlib import Path


def weights_folder() -> Path:
    """The folder named by BUSBENCH_WEIGHTS, or .bench/weights."""
    return Path(os.environ.get("BUSBENCH_WEIGHTS", ".bench/weights"))
