"""The same boxes are the same bytes, wherever they come from."""

import io

import pandas as pd

from bench.boxes import CORNERS, boxes_csv


def test_only_ids_and_boxes_make_the_text():
    boxes = pd.DataFrame({"id": ["a", "b"], **dict(zip(CORNERS, ([1, 2], [3, 4], [5, 6], [7, 8]), strict=True))})
    expected = "id,x_min,y_min,x_max,y_max\na,1,3,5,7\nb,2,4,6,8\n"
    assert boxes_csv(boxes) == boxes_csv(boxes.assign(iou=0.5, selected=True)) == expected


def test_an_image_without_a_box_changes_no_other_line():
    made = pd.DataFrame([("a", 1, 2, 3, 4), ("b", None, None, None, None)], columns=["id", *CORNERS], dtype=object)
    text = boxes_csv(made)
    assert text == "id,x_min,y_min,x_max,y_max\na,1,2,3,4\nb,,,,\n"
    assert boxes_csv(pd.read_csv(io.StringIO(text))) == text
