"""Fine-tune, fit, evaluate, write a bundle: `ray job submit -- python jobs/train.py --config
jobs/train.yaml`."""

import sys

from rubert_ood.cli import main

if __name__ == "__main__":
    sys.exit(main("train"))
