"""The files of the stack of a bundle. Shapes: C classes, V n-grams, P probes."""

from rubert_ood.bundle.arrays import Layout, read_arrays
from rubert_ood.bundle.documents import StackDocument
from rubert_ood.bundle.files import STACK, write_arrays, write_json
from rubert_ood.classifier.stack import Stack, WordModel, probe_texts

__all__ = ["STACK", "STACK_ARRAYS", "read_stack", "write_stack"]

STACK_ARRAYS = "stack.safetensors"


def write_stack(folder: str, stack: Stack) -> None:
    """Write both files."""
    words = stack.words
    description = StackDocument(
        weight=stack.weight,
        num_train=words.num_train,
        max_characters=words.max_characters,
        scikit_learn=words.made_by,
        ngrams=words.ngrams,
    )
    assert words.probes_PC is not None
    arrays = {
        "idf": words.idf_V,
        "weights": words.weights_VC,
        "biases": words.biases_C,
        "probes": words.probes_PC,
    }
    write_arrays(folder, STACK_ARRAYS, arrays)
    write_json(folder, STACK, description.model_dump())


def read_stack(folder: str, description: StackDocument, num_classes: int) -> Stack:
    """Read the arrays. Raises ValueError unless they are as described."""
    num_ngrams = len(description.ngrams)
    num_probes = len(probe_texts(description.ngrams))
    expected = {
        "idf": Layout("F32", (num_ngrams,)),
        "weights": Layout("F32", (num_ngrams, num_classes)),
        "biases": Layout("F32", (num_classes,)),
        "probes": Layout("F32", (num_probes, num_classes)),
    }
    arrays = read_arrays(folder, STACK_ARRAYS, expected)
    words = WordModel(
        ngrams=description.ngrams,
        idf_V=arrays["idf"],
        weights_VC=arrays["weights"],
        biases_C=arrays["biases"],
        made_by=description.scikit_learn,
        num_train=description.num_train,
        probes_PC=arrays["probes"],
        max_characters=description.max_characters,
    )
    return Stack(words, description.weight)
