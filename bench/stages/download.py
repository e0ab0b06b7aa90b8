"""Obtain the raw data set: BUSI verified pixel by pixel, or phantoms rendered on the spot."""

import os

from bench.data.busi import obtain
from bench.data.phantom import write
from bench.data.raw import folder
from bench.paths import DOWNLOADS, Paths
from bench.schema import PhantomData
from bench.settings import Settings


def run(paths: Paths, settings: Settings) -> None:
    """Write the raw folder; BUSI_ZIP names a zip or folder to take instead of the network."""
    if isinstance(settings.data, PhantomData):
        write(folder(paths), settings.data.counts(), settings.data.seed)
    else:
        obtain(folder(paths), DOWNLOADS, os.environ.get("BUSI_ZIP") or None)
