"""The features of a job, computed in this process instead of by Ray."""

from rubert_ood.classifier.model import Classifier
from rubert_ood.classifier.outputs import Outputs
from rubert_ood.classifier.tokens import tokenize


class InThisProcess:
    """Stands for StoredFeatures."""

    def __init__(self, parts, checkpoint_uri, *, max_length, workers, precision):
        classifier = Classifier.load(checkpoint_uri, precision=precision)
        self.outputs = {}
        for name, part in parts.items():
            ids = tokenize(classifier.tokenizer, part.texts, max_length)
            self.outputs[name] = Outputs(*classifier.run(ids, token_budget=4096), part.labels_N)

    def gather(self, max_rows=None):
        return self.outputs

    def sum_up(self, name, summarise):
        part = self.outputs[name]
        return summarise(part.cls_NH, part.labels_N)
