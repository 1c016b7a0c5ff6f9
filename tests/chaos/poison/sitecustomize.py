"""A folder for PYTHONPATH: each Python process that starts with it dies as soon as a stage meets
the poisoned shard.

So the product needs no hook. CHAOS_POISON names the stage; CHAOS_ATTEMPTS is the file that counts
the deaths.
"""

import importlib.abc
import importlib.util
import os
import signal
import sys

MARKER = "poisonedshard"


def die() -> None:
    """End as the out-of-memory killer does it."""
    with open(os.environ["CHAOS_ATTEMPTS"], "a") as file:
        file.write(f"{os.getpid()}\n")
    os.kill(os.getpid(), signal.SIGKILL)


def poison_encode(module):
    clean = module.TextCleaner.clean

    def poisoned(self, text):
        if MARKER in text:
            die()
        return clean(self, text)

    module.TextCleaner.clean = poisoned


def poison_score(module):
    call = module.Scorer.__call__

    def poisoned(self, item):
        if MARKER in item.shard.uri:
            die()
        return call(self, item)

    module.Scorer.__call__ = poisoned


POISONS = {
    "encode": ("rubert_ood.ads.text", poison_encode),
    "score": ("rubert_ood.scoring.scorer", poison_score),
}


class Poisoner(importlib.abc.MetaPathFinder):
    """Changes one module right after its import."""

    def find_spec(self, name, path=None, target=None):
        module_name, poison = POISONS[os.environ["CHAOS_POISON"]]
        if name != module_name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_poison(module):
            load(module)
            poison(module)

        spec.loader.exec_module = load_and_poison
        return spec


if "CHAOS_POISON" in os.environ:
    sys.meta_path.insert(0, Poisoner())
