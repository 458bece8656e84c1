"""Write the simulated spectra that ums-doppler-efficientnet-lite0 was made from: 20,000, 128 px, the same on every machine.

    python scripts/simulate_doppler.py data/doppler [--count N] [--seed N]

No noisy twins are written: training adds its own noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from umsrep.tasks.data import doppler


def main() -> None:
    """Parse and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    doppler.write_dataset(options.folder, options.count, seed=options.seed, size=(128, 128), noisy=False)


if __name__ == "__main__":
    main()
