"""Train the 60 models behind the quick claim of nmt-scaling-laws, and write the table that ships.

    python tools/nmt_runs.py                 # into the package; about 20 minutes of one core
    python tools/nmt_runs.py --out runs.csv

A file that is there already is gone on with: what is in it is not trained again.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import asdict
from pathlib import Path

from paperworks.claims import nmt_scaling_laws as claim
from paperworks.claims._transduction import train

TABLE = Path(claim.__file__).with_name(claim.TABLE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    done = set()
    if given.out.exists():
        with given.out.open(newline="") as file:
            done = {
                (int(row["seed"]), int(row["encoder_layers"]), int(row["decoder_layers"]))
                for row in csv.DictReader(file)
            }
    with given.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, claim.csv_columns(), lineterminator="\n")
        if not done:
            writer.writeheader()
        for seed in range(given.seeds):
            for depths in (*claim.FITTED, *claim.HELD_OUT):
                if (seed, *depths) in done:
                    continue
                for run in train(seed, depths):
                    row = asdict(run) | {"loss": f"{run.loss:.5f}", "bleu": f"{run.bleu:.2f}"}
                    writer.writerow(row)
                    print(*row.values(), flush=True)
                file.flush()


if __name__ == "__main__":
    main()
