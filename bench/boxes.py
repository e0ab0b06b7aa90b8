"""Tables of boxes: one line an image, its id and the box's inclusive corners, empty where it has no box."""

import pandas as pd

CORNERS = ("x_min", "y_min", "x_max", "y_max")


def boxes_csv(table: pd.DataFrame) -> str:
    """id and corners (px) of a table as CSV: the same boxes are the same text, whatever else the table holds."""
    text: str = table[["id", *CORNERS]].astype(dict.fromkeys(CORNERS, "Int64")).to_csv(index=False)
    return text
