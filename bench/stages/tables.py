"""Tables I and II and metrics.json."""

from pathlib import Path

import pandas as pd

from bench.captions import ingredients
from bench.data.images import read_table
from bench.files import read_json, replacing_file, write_json
from bench.paths import Paths, seed_name
from bench.progress import say
from bench.schema import BusiData
from bench.settings import Settings
from bench.tables import table1, table1_frame, table2, table2_frame


def run(paths: Paths, settings: Settings) -> None:
    """Write table1 and table2 as .md and .csv, and metrics.json; Table I is of the first seed."""
    with_paper = isinstance(settings.data, BusiData)
    first = seed_name(settings.seeds[0])
    counts = table1(read_table(paths.splits / f"{first}.csv"), read_table(paths.selection / f"{first}.csv"))
    headline, pooled = table2(read_table(paths.evaluation / "per_image.csv"), list(settings.train.rows))
    segmenter = read_json(paths.pseudo / first / "segmenter.json")["name"]
    made_from = ingredients(settings, segmenter)
    made_by = [read_json(paths.selection / f"{seed_name(seed)}.json")["made_by"] for seed in settings.seeds]
    rule = "; ".join(dict.fromkeys(made_by))
    in_brackets = " In brackets: the paper." if with_paper else ""
    gaps = "".join(
        f" {gap['row']}, {seed_name(gap['seed'])}: not runnable: {gap['reason']}."
        for gap in read_json(paths.evaluation / "not_runnable.json")
    )
    paths.reports.mkdir(parents=True, exist_ok=True)
    _write(
        paths.reports / "table1",
        "Table I. Images by set and class",
        table1_frame(counts, with_paper),
        f"{made_from} {rule}.{in_brackets}",
    )
    _write(
        paths.reports / "table2",
        "Table II. Ablation, IoU in percent on the test set X",
        table2_frame(headline, pooled, with_paper),
        f"{made_from} Means of per-image IoUs at the original image size; pooled: IoU of summed pixel counts. "
        f"{rule}.{gaps}",
    )
    write_json(paths.reports / "metrics.json", {"table1": counts, "table2": headline})


def _write(base: Path, title: str, table: pd.DataFrame, caption: str) -> None:
    markdown = table.to_markdown(index=False, disable_numparse=True)
    with replacing_file(base.with_suffix(".md")) as file:
        file.write_text(f"## {title}\n\n{markdown}\n\n{caption}\n", encoding="utf-8")
    with replacing_file(base.with_suffix(".csv")) as file:
        table.to_csv(file, index=False)
    say(f"{title}\n{markdown}\n{caption}\n")
