"""Write rows of a Fashion-MNIST CSV as pictures: image_<row>_label_<class>.png."""

import argparse
from pathlib import Path

from garments.settings import Settings, SettingsError
from garments.terminal import path, place, progress, tell


def main() -> None:
    """Write the pictures; exit with 2 for bad data or settings, 1 if that cannot be told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=path, help="default: the test set in Data/, made if missing")
    parser.add_argument("--output", type=place, default="images", help="folder; default: images")
    parser.add_argument("--limit", type=int, help="write only this many rows")
    parser.add_argument("--per-class", type=int, help="write only this many a class")
    given = parser.parse_args()
    try:
        from garments import dataset, generated  # not above: an interrupt meanwhile is told below

        try:
            if given.csv:
                pictures = dataset.read_csv(given.csv)
            else:
                own = Settings.from_environment().dataset_dir
                pictures = dataset.load("test", Path("Data"), own)
            rows = generated.first_rows(pictures, given.limit, given.per_class)
            generated.write_images(pictures, progress(rows, "image"), Path(given.output))
        except (dataset.DatasetError, SettingsError, OSError) as error:
            parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(130, "interrupted: the same command writes all pictures anew\n")
    try:
        tell(f"{len(rows):,} pictures are in {given.output}")
    except OSError as error:
        parser.exit(1, f"all pictures are written; {error}\n")


if __name__ == "__main__":
    main()
