"""Part images and labels from masks, and resize both for training."""

from bench.data import masks, raw
from bench.data.prepare import write_images, write_masks
from bench.files import replacing_folder
from bench.paths import Paths
from bench.settings import Settings


def run(paths: Paths, settings: Settings) -> None:
    """Write the images folder and the masks folder."""
    size = settings.prepare.image_size
    with replacing_folder(paths.images) as images, replacing_folder(masks.folder(paths)) as truth:
        write_images(raw.folder(paths), images, size)
        write_masks(raw.folder(paths), truth, size)
