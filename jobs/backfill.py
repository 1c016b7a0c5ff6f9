"""Score past days again, compare, publish: `ray job submit -- python jobs/backfill.py --config
jobs/backfill.yaml`."""

import sys

from rubert_ood.cli import main

if __name__ == "__main__":
    sys.exit(main("backfill"))
