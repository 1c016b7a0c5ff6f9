"""Compare a bundle with the champion, promote it by limits: `ray job submit --entrypoint-num-gpus 1
-- python jobs/promote.py --config jobs/promote.yaml`."""

import sys

from rubert_ood.cli import main

if __name__ == "__main__":
    sys.exit(main("promote"))
