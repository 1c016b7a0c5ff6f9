"""The files of the sub-heads of a bundle. Shapes: H hidden, S sub-categories of one category."""

from collections.abc import Sequence

from rubert_ood.bundle.arrays import Layout, read_arrays
from rubert_ood.bundle.documents import SubheadDocument, SubheadsDocument, checked_names
from rubert_ood.bundle.files import write_arrays, write_json
from rubert_ood.classifier.subheads import SubHead, SubHeads

SUBHEADS, SUBHEAD_ARRAYS = "subheads.json", "subheads.safetensors"


def write_subheads(folder: str, subheads: SubHeads) -> None:
    """Write both files: head number 0, 1, ... in the order of the categories."""
    arrays, categories = {}, []
    for number, (category, head) in enumerate(subheads.heads.items()):
        arrays[f"{number}.weights"] = head.weights_SH
        arrays[f"{number}.biases"] = head.biases_S
        described = SubheadDocument(
            category=category, names=head.names, measured=head.measured
        )
        categories.append(described)
    description = SubheadsDocument(settings=subheads.settings, categories=categories)
    write_arrays(folder, SUBHEAD_ARRAYS, arrays)
    write_json(folder, SUBHEADS, description.model_dump())


def check_categories(description: SubheadsDocument, labels: Sequence[str]) -> None:
    """Raise ValueError unless each category is one of the classes, and stands there once."""
    categories = [item.category for item in description.categories]
    unknown = sorted(set(checked_names(categories)) - set(labels))
    if unknown:
        raise ValueError(f"the category {unknown[0]!r} is not a class of this bundle")


def read_subheads(
    folder: str,
    description: SubheadsDocument,
    hidden: int,
) -> SubHeads:
    """Read the arrays. Raises ValueError or BundleError unless they are as described."""
    expected = {}
    for number, item in enumerate(description.categories):
        expected[f"{number}.weights"] = Layout("F64", (len(item.names), hidden))
        expected[f"{number}.biases"] = Layout("F64", (len(item.names),))
    arrays = read_arrays(folder, SUBHEAD_ARRAYS, expected)
    heads = {}
    for number, item in enumerate(description.categories):
        heads[item.category] = SubHead(
            item.names,
            arrays[f"{number}.weights"],
            arrays[f"{number}.biases"],
            item.measured,
        )
    return SubHeads(heads, description.settings)
