"""Pretrain a base model on a catalogue: `ray job submit -- python jobs/pretrain.py --config
jobs/pretrain.yaml`."""

import sys

from rubert_ood.cli import main

if __name__ == "__main__":
    sys.exit(main("pretrain"))
