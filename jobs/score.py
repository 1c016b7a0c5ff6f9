"""Plan, score, verify, publish, report: `ray job submit -- python jobs/score.py --config
jobs/score.yaml`."""

import sys

from rubert_ood.cli import main

if __name__ == "__main__":
    sys.exit(main("score"))
