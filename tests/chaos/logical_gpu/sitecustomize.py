"""A folder for PYTHONPATH: each Python process that starts with it computes on CPU where a GPU is
asked for.

So nodes can have a GPU that only Ray knows of, and the product needs no hook. Python takes one such
folder; this one brings the poison of the chaos tests along.
"""

import importlib.abc
import importlib.util
import runpy
import sys
from pathlib import Path

PRECISION = "rubert_ood.classifier.precision"


class OnCpu(importlib.abc.MetaPathFinder):
    """Changes one module right after its import."""

    def find_spec(self, name, path=None, target=None):
        if name != PRECISION:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_change(module):
            load(module)
            choose = module.choose_device
            module.choose_device = lambda use_gpu, precision=None: choose(
                False, precision
            )

        spec.loader.exec_module = load_and_change
        return spec


sys.meta_path.insert(0, OnCpu())
POISON = Path(__file__).parents[1] / "poison" / "sitecustomize.py"
runpy.run_path(str(POISON))
