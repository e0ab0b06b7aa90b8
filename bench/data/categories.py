"""The three classes of BUSI, in the order of the paper's tables."""

CATEGORIES = ("benign", "malignant", "normal")
TUMOURS = ("benign", "malignant")
