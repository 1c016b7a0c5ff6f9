"""The features of a job, computed in this process instead of by Ray."""

from rubert_ood.classifier import windows
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.ood.outputs import Outputs


class InThisProcess:
    """Stands for StoredFeatures."""

    def __init__(self, parts, checkpoint, *, max_length, long_text, workers, precision):
        classifier = Classifier.load(
            checkpoint if isinstance(checkpoint, str) else checkpoint(), precision=precision
        )
        self.outputs = {}
        for name, part in parts.items():
            read = windows.cut(
                classifier.tokenizer, part.texts, max_length=max_length, long_text=long_text
            )
            self.outputs[name] = Outputs(
                *windows.run(classifier, read, token_budget=4096), part.labels_N
            )

    def gather(self, max_rows=None):
        return self.outputs

    def sum_up(self, name, summarise):
        part = self.outputs[name]
        return summarise(part.cls_NH, part.labels_N)
