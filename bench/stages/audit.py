"""Audit the prepared images: near-duplicates and what was drawn over them; masks are not read."""

from bench.data.audit import correlations, groups, near_duplicates, summary, survey
from bench.data.images import INDEX, ORIGINALS, read_table
from bench.files import replacing_folder, write_json
from bench.paths import Paths
from bench.progress import say
from bench.settings import Settings


def run(paths: Paths, settings: Settings) -> None:
    """Write groups.csv (id, group), pairs.csv, flags.csv (colour, text and calipers by image) and summary.json."""
    options = settings.audit
    index = read_table(paths.images / INDEX)
    files = [paths.images / ORIGINALS / f"{image_id}.png" for image_id in index["id"]]
    found = survey(files, list(index["category"]), options.thumbnail)
    correlation = correlations(found.tiles, options.thumbnail, options.crop)
    pairs = near_duplicates(correlation, found.digests, found.flags, options.ncc)
    grouped = groups(list(index["id"]), pairs)
    counts = summary(pairs, grouped, found.flags)
    with replacing_folder(paths.audit) as out:
        grouped.to_csv(out / "groups.csv", index=False)
        pairs.to_csv(out / "pairs.csv", index=False)
        found.flags.to_csv(out / "flags.csv", index=False)
        write_json(out / "summary.json", counts)
    say(f"{counts['images_in_groups']} of {counts['images']} images in {counts['groups']} groups of near-duplicates")
