"""What a scanner draws over the echoes: colour, text, calipers. Found in images alone, never in masks.

The limits below hold for every 8-bit data set; METHOD part A says how often they are right on BUSI.
"""

import cv2
import numpy as np

# A pixel has colour when its channels lie further apart (grey levels); compression of a grey image stays below.
CHROMA = 16
COLOURED = 0.0005
# A stroke: connected bright pixels, as many at least, of one grey level (standard deviation), which falls by so many
# levels from one pixel to the next all around. Echoes as bright are speckled and fade over several pixels.
BRIGHT = 200
STROKE = 20
FLAT = 12.0
STEP = 80.0
# Strokes that end above this row are the scanner's own marks, which most images have at their upper edge.
MARK_ROWS = 24


def coloured_share(image: np.ndarray) -> float:
    """Share of the pixels of uint8 (H, W, 3) that have colour; an image of more than COLOURED is one in colour."""
    red, green, blue = (image[..., channel].astype(np.int16) for channel in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return float((spread > CHROMA).mean())


def stroke_pixels(image: np.ndarray) -> int:
    """Pixels of uint8 (H, W, 3) in strokes of burnt-in text or calipers; 0 for an image without."""
    grey = cv2.max(cv2.max(image[..., 0], image[..., 1]), image[..., 2])
    bright = grey >= BRIGHT
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(bright.astype(np.uint8), connectivity=8)
    area, end = boxes[:, cv2.CC_STAT_AREA], boxes[:, cv2.CC_STAT_TOP] + boxes[:, cv2.CC_STAT_HEIGHT]
    inside, levels = labels[bright], grey[bright].astype(float)
    variance = _means((levels - _means(levels, inside, count)[inside]) ** 2, inside, count)
    darkest = cv2.erode(grey, np.ones((3, 3), np.uint8))
    edge = bright & (darkest < BRIGHT)
    step = _means((grey - darkest)[edge], labels[edge], count)
    found = (area >= STROKE) & (end > MARK_ROWS) & (variance <= FLAT**2) & (step >= STEP)
    return int(area[found].sum())


def _means(values: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Mean of the values with each label 0..count-1, 0 where there is none (the background among them)."""
    sums: np.ndarray = np.bincount(labels, values, count) / np.maximum(np.bincount(labels, minlength=count), 1)
    return sums
