"""Bundles that are signed and wrong: every hash is right, only their sense gives them away."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rubert_ood.bundle import derive_bundle, load_bundle, load_reference
from rubert_ood.classifier.subheads import SubHead, SubHeads
from rubert_ood.errors import BundleError
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from tests.unit.bundle.signed import edit, edit_arrays, sign

Change = Callable[[Path], object]

STATISTICS, WEIGHTS = "ood_statistics.safetensors", "model.safetensors"
REFERENCE, SUBHEADS = "reference.safetensors", "subheads.safetensors"
LABELS = ["Животные", "Квартиры", "Мебель", "Одежда", "Шины и диски"]


@pytest.fixture(scope="module")
def whole(bundle, tmp_path_factory) -> Path:
    """A bundle with everything that a bundle may hold."""
    rng = np.random.default_rng(0)
    parts = []
    for rows in (7, 3):
        logits, cls = rng.normal(size=(rows, 5)), rng.normal(size=(rows, 32))
        parts.append(
            Outputs(
                logits.astype(np.float32), cls.astype(np.float32), np.arange(rows) % 5
            )
        )
    head = SubHead(
        ["Двери", "Столы"],
        rng.normal(size=(2, 32)),
        rng.normal(size=2),
        {"accuracy": 0.9},
    )
    uri = str(tmp_path_factory.mktemp("whole") / "v2")
    derive_bundle(
        bundle, uri, reference=Reference(*parts), subheads=SubHeads({"Мебель": head})
    )
    return Path(uri)


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "v2"))


def test_the_whole_bundle_loads_after_it_was_signed_again(copy):
    sign(copy)
    bundle = load_bundle(str(copy))
    assert bundle.fitted.labels == LABELS
    assert bundle.subheads is not None
    assert list(bundle.subheads.heads) == ["Мебель"]
    assert load_reference(bundle).train.cls_NH.shape == (7, 32)


def text(name: str, content: str | bytes) -> Change:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def keys(name: str, **changes: object) -> Change:
    return lambda folder: edit(folder, name, **changes)


def replaced(name: str, old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        before = (folder / name).read_text("utf-8")
        assert old in before
        (folder / name).write_text(before.replace(old, new, 1), "utf-8")

    return change


def array(name: str, key: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda folder: edit_arrays(
        folder, name, lambda arrays: arrays.update({key: change(arrays[key])})
    )


def without(name: str, key: str) -> Change:
    return lambda folder: edit_arrays(folder, name, lambda arrays: arrays.pop(key))


def more(name: str, key: str, value: np.ndarray) -> Change:
    return lambda folder: edit_arrays(
        folder, name, lambda arrays: arrays.update({key: value})
    )


def first(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values.flat[0] = value
        return values

    return change


def cleaner(**changes: object) -> Change:
    def change(folder: Path) -> None:
        old = json.loads((folder / "text.json").read_text("utf-8"))["cleaner"]
        edit(folder, "text.json", cleaner=old | changes)

    return change


def half(name: str) -> Change:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def names(*labels: object) -> Change:
    return keys("label_mapping.json", labels=list(labels))


def subhead(**changes: object) -> Change:
    def change(folder: Path) -> None:
        old = json.loads((folder / "subheads.json").read_text("utf-8"))["categories"][0]
        edit(folder, "subheads.json", categories=[old | changes])

    return change


LAYER = "bert.encoder.layer.1.output.dense.weight"
CASES: dict[str, tuple[Change, str]] = {
    # T
    "t_zero": (
        keys("temperature.json", temperature=0),
        r"temperature: expected greater than 0, got 0",
    ),
    "t_negative": (
        keys("temperature.json", temperature=-1.5),
        r"temperature: expected greater than 0, got -1.5",
    ),
    "t_nan": (
        replaced("temperature.json", '"temperature": ', '"temperature": NaN, "x": '),
        "temperature.json: ",
    ),
    "t_infinite": (
        keys("temperature.json", temperature=float("inf")),
        "temperature: expected a finite number",
    ),
    "t_too_large": (
        replaced("temperature.json", '"temperature": ', '"temperature": 1e999, "x": '),
        "finite number",
    ),
    "t_text": (
        keys("temperature.json", temperature="1.5"),
        r"temperature: expected a valid number, got '1.5'",
    ),
    "t_bool": (
        keys("temperature.json", temperature=True),
        r"temperature: expected a valid number, got True",
    ),
    "t_null": (
        keys("temperature.json", temperature=None),
        r"temperature: expected a valid number, got None",
    ),
    "t_absent": (
        keys("temperature.json", del_temperature=0),
        r"temperature.json: it lacks 'temperature'. Restore",
    ),
    "t_list": (
        text("temperature.json", "[1.5]"),
        r"temperature.json: expected an object",
    ),
    "t_twice": (
        replaced("temperature.json", "{", '{"temperature": 1.0,'),
        "it has the key 'temperature' twice",
    ),
    "t_unknown_key": (
        keys("temperature.json", temprature=1),
        "it has an unknown key 'temprature'",
    ),
    "t_huge": (
        text("temperature.json", '{"temperature": 1' + "0" * 5000 + "}"),
        "temperature.json: it does not hold JSON",
    ),
    "t_deep": (
        text("temperature.json", "[" * 200_000),
        "temperature.json: it does not hold JSON",
    ),
    "t_not_utf8": (
        text("temperature.json", b'{"temperature": "\xff"}'),
        "temperature.json: it does not hold JSON",
    ),
    "t_empty": (text("temperature.json", ""), "temperature.json: it does not hold JSON"),
    "t_worsens": (
        keys("temperature.json", nll_after=512.0),
        "nll_after 512 is more than nll_before",
    ),
    # thresholds and rule
    "threshold_nan": (
        replaced("ood_threshold.json", '"threshold": ', '"threshold": NaN, "x": '),
        "ood_threshold.json",
    ),
    "threshold_negative": (
        keys("ood_threshold.json", threshold=-1),
        "threshold: expected greater than 0",
    ),
    "threshold_moved": (
        keys("ood_threshold.json", threshold=1e9),
        "is not a quantile of calibration_d2",
    ),
    "sigma_negative": (
        keys("ood_threshold.json", sigma=-0.1),
        "sigma: expected greater than or equal to 0",
    ),
    "sigma_moved": (
        keys("ood_threshold.json", sigma=0.0),
        "standard deviation of calibration_d2 differs",
    ),
    "mu_moved": (
        keys("ood_threshold.json", mu=1.0),
        "standard deviation of calibration_d2 differs",
    ),
    "rule_unknown": (
        keys("ood_threshold.json", rule="always"),
        r"rule: expected 'notebook' or 'conformal', got 'always'",
    ),
    "top_k_zero": (
        keys("ood_threshold.json", top_k=0),
        "top_k: expected greater than 0, got 0",
    ),
    "top_k_absent": (keys("ood_threshold.json", del_top_k=0), "it lacks 'top_k'"),
    "shrinkage_two": (
        keys("ood_threshold.json", shrinkage=2.0),
        "shrinkage: expected less than or equal to 1",
    ),
    "calibrated_on_test": (
        keys("ood_threshold.json", calibrated_on="test"),
        "calibrated_on: expected 'valid' or",
    ),
    # classes
    "names_swapped": (
        names(*LABELS[::-1]),
        "id2label differs from label_mapping.json: class 0 is 'Животные', not 'Ш",
    ),
    "names_fewer": (
        names(*LABELS[:4]),
        r"the array means is F64 \(5, 32\), where F64 \(4, any\) is expected",
    ),
    "names_twice": (
        names(*LABELS[:4], LABELS[0]),
        "it names the class 'Животные' twice",
    ),
    "names_empty": (names(*LABELS[:4], ""), "'' cannot be the name of a class"),
    "names_blank": (names(*LABELS[:4], " \u00a0"), "cannot be the name of a class"),
    "names_other": (names(*LABELS[:4], "Other"), "'Other' cannot be the name of a class"),
    "names_number": (names(*LABELS[:4], 5), r"labels.4: expected a valid string, got 5"),
    "names_null": (
        names(*LABELS[:4], None),
        r"labels.4: expected a valid string, got None",
    ),
    "names_text": (
        keys("label_mapping.json", labels="Мебель"),
        "labels: expected a valid array",
    ),
    "names_one": (names("Мебель"), "label_mapping.json: labels"),
    "names_object": (
        text("label_mapping.json", "null"),
        "label_mapping.json: expected an object",
    ),
    "names_surrogate": (
        replaced("label_mapping.json", "Мебель", "\\ud800"),
        "label_mapping.json: it does not hold JSON",
    ),
    # statistics
    "means_transposed": (
        array(STATISTICS, "means", lambda a: a.T.copy()),
        r"means is F64 \(32, 5\)",
    ),
    "means_single": (
        array(STATISTICS, "means", lambda a: a.astype(np.float32)),
        r"the array means is F32 \(5, 32\), where F64 \(5, any\) is",
    ),
    "means_nan": (
        array(STATISTICS, "means", first(np.nan)),
        "the array means holds NaN or infinite numbers",
    ),
    "means_absent": (
        without(STATISTICS, "means"),
        r"it lacks the array 'means' \(1 missing in all\)",
    ),
    "means_more": (
        more(STATISTICS, "medians", np.zeros(3)),
        r"it has an unknown array 'medians'",
    ),
    "means_narrow": (
        array(STATISTICS, "means", lambda a: a[:, :16].copy()),
        "precision_HH has the shape",
    ),
    "precision_crooked": (
        array(STATISTICS, "precision", first(-1e6)),
        "precision matrix is not positive definite",
    ),
    "precision_asymmetric": (
        array(STATISTICS, "precision", lambda a: a + np.triu(a, 1)),
        r"ood_statistics.safetensors: .*is not symmetric",
    ),
    "precision_vector": (
        array(STATISTICS, "precision", lambda a: a[0].copy()),
        r"precision is F64 \(32\)",
    ),
    "d2_unsorted": (
        array(STATISTICS, "calibration_d2", lambda a: a[::-1].copy()),
        "in ascending order",
    ),
    "d2_infinite": (
        array(STATISTICS, "calibration_d2", first(-np.inf)),
        "calibration_d2 holds NaN",
    ),
    "d2_one": (
        array(STATISTICS, "calibration_d2", lambda a: a[:1].copy()),
        "at least 2 finite distances",
    ),
    "d2_other": (
        array(STATISTICS, "calibration_d2", lambda a: 2 * a),
        "standard deviation of calibration_d2 differs",
    ),
    "statistics_cut": (half(STATISTICS), "ood_statistics.safetensors: "),
    "statistics_text": (text(STATISTICS, "{}"), "ood_statistics.safetensors: "),
    # text
    "pattern_explodes": (
        cleaner(phone_pattern=r"(\d+)+x"),
        r"text.json: cleaner.phone_pattern: its run time explodes",
    ),
    "pattern_explodes_late": (
        cleaner(phone_pattern=r"8800(\d|\d\d)*x"),
        "its run time explodes",
    ),
    "pattern_broken": (
        cleaner(phone_pattern="("),
        "it is not a valid regular expression",
    ),
    "pattern_empty": (cleaner(phone_pattern=""), "it matches the empty text"),
    "pattern_number": (
        cleaner(phone_pattern=5),
        "cleaner.phone_pattern: expected a valid string, got 5",
    ),
    "cities_text": (cleaner(cities="Уфа"), "cleaner.cities: expected a valid array"),
    "cities_nested": (
        cleaner(cities=["а" * size for size in range(1, 2000)]),
        "text.json: ",
    ),
    "noise_null": (
        cleaner(noise_words=None),
        "cleaner.noise_words: expected a valid array",
    ),
    "max_length_zero": (
        keys("text.json", max_length=0),
        "max_length: expected greater than or equal to 3",
    ),
    "max_length_float": (
        keys("text.json", max_length=64.5),
        "max_length: expected a valid integer",
    ),
    "max_length_over": (
        keys("text.json", max_length=513),
        "the network reads at most 512 tokens, but text.json has",
    ),
    "stride_wide": (
        keys("text.json", long_text={"mode": "chunk", "stride": 60, "max_chunks": 2}),
        "stride 60 is more than half of max_length 64",
    ),
    "stride_absent": (
        keys("text.json", long_text={"mode": "truncate", "max_chunks": 2}),
        "it lacks 'long_text.stride'",
    ),
    "chunks_zero": (
        keys("text.json", long_text={"mode": "chunk", "stride": 4, "max_chunks": 0}),
        "max_chunks",
    ),
    "mode_unknown": (
        keys("text.json", long_text={"mode": "all", "stride": 4, "max_chunks": 1}),
        "long_text.mode",
    ),
    "text_absent_key": (keys("text.json", del_cleaner=0), "it lacks 'cleaner'"),
    # numbers
    "precision_fp8": (
        keys("precision.json", precision="fp8"),
        r"precision: expected 'fp32', 'bf16' or 'int8', got 'fp8'",
    ),
    "precision_null": (
        keys("precision.json", precision=None),
        "precision: expected 'fp32'",
    ),
    "agreement_text": (
        keys("precision.json", agreement={"argmax": "1"}),
        "agreement.argmax: expected a valid number",
    ),
    # network
    "layer_missing": (
        without(WEIGHTS, LAYER),
        rf"model.safetensors: it lacks the array '{LAYER}' \(1 missing in all\)",
    ),
    "layer_more": (
        more(WEIGHTS, "bert.encoder.layer.2.x", np.zeros(2, np.float32)),
        "an unknown array 'bert.encoder.layer.2",
    ),
    "layer_shape": (
        array(WEIGHTS, LAYER, lambda a: a[:, :8].copy()),
        rf"the array {LAYER} is F32 \(32, 8\), where F32 \(32, 128\) is expected",
    ),
    "layer_integers": (
        array(WEIGHTS, LAYER, lambda a: a.astype(np.int32)),
        "floating-point numbers are expected",
    ),
    "head_of_other_classes": (
        array(WEIGHTS, "classifier.weight", lambda a: a[:4].copy()),
        r"classifier.weight is F32 \(4, 32\)",
    ),
    "weights_cut": (half(WEIGHTS), "model.safetensors: "),
    "weights_empty": (text(WEIGHTS, ""), "model.safetensors: "),
    "config_layers": (
        keys("config.json", num_hidden_layers=3),
        r"it lacks the array 'bert.encoder.layer.2.* \(16 missing in all\)",
    ),
    "config_layers_many": (
        keys("config.json", num_hidden_layers=10**9),
        "num_hidden_layers: expected less than or equal",
    ),
    "config_hidden": (
        keys("config.json", hidden_size=64),
        "hidden_size is 64, but the statistics were fitted on H = 32",
    ),
    "config_vocabulary": (
        keys("config.json", vocab_size=10),
        "model.safetensors: the array bert.embeddings.word_embeddings",
    ),
    "config_heads": (
        keys("config.json", num_attention_heads=5),
        "config.json: hidden_size 32 is not a multiple of num_attention_heads 5",
    ),
    "config_without_a_size": (
        keys("config.json", del_intermediate_size=0),
        "config.json: it lacks 'intermediate_size'",
    ),
    "config_kinds_none": (
        keys("config.json", type_vocab_size=0),
        "config.json: type_vocab_size: expected greater than 0, got 0",
    ),
    "config_decoder": (keys("config.json", is_decoder=True), "config.json: it describes"),
    "config_task": (
        keys("config.json", architectures=["BertForMaskedLM"]),
        "it describes the network 'BertForMaskedLM'",
    ),
    "config_id2label_absent": (
        keys("config.json", del_id2label=0),
        "id2label differs from label_mapping.json: class 0 is 'LABEL_0'",
    ),
    "config_id2label_list": (
        keys("config.json", id2label=LABELS),
        "id2label: expected an object",
    ),
    "config_label2id": (
        keys("config.json", label2id=dict.fromkeys(LABELS, 0)),
        "label2id is not the inverse",
    ),
    "config_null": (text("config.json", "null"), "config.json: expected an object"),
    "config_text_size": (
        keys("config.json", vocab_size="1000"),
        "vocab_size: expected a valid integer, got '1000'",
    ),
    "tokenizer_text": (
        text("tokenizer.json", "[]"),
        "tokenizer.json: it does not hold a tokenizer",
    ),
    "tokenizer_empty": (
        text("tokenizer.json", ""),
        "tokenizer.json: it does not hold a tokenizer",
    ),
    "tokenizer_ids": (
        replaced(
            "tokenizer.json",
            '"added_tokens": [',
            '"added_tokens": ['
            + json.dumps(
                {
                    "id": 5000,
                    "content": "[X]",
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
            )
            + ",",
        ),
        "tokenizer.json: its token ids go up to",
    ),
    # special ids
    "special_ids_text": (
        text("special_ids.json", "[]"),
        "special_ids.json: expected an object",
    ),
    "special_ids_without_cls": (
        keys("special_ids.json", del_cls=0),
        "special_ids.json: it lacks 'cls'",
    ),
    "special_ids_without_pad": (
        keys("special_ids.json", pad=None),
        "special_ids.json: pad: expected a valid integer",
    ),
    "special_ids_of_another_cls": (
        keys("special_ids.json", cls=3),
        "special_ids.json: the tokenizer does not put the id 3 first, as CLS",
    ),
    "special_ids_of_a_pad_that_is_a_word": (
        keys("special_ids.json", pad=7),
        "special_ids.json: the ids of CLS, pad and what is unknown are not among the special ones",
    ),
    "special_ids_beyond_the_tokenizer": (
        keys("special_ids.json", special=[0, 1, 2, 3, 4, 5000]),
        "special_ids.json: the tokenizer has no token with the id 5000",
    ),
    "special_ids_of_another_format": (
        keys("special_ids.json", format=2),
        "special_ids.json: format: expected less than or equal to 1",
    ),
    "tokenizer_without_cls": (
        keys("tokenizer.json", post_processor=None),
        "special_ids.json: the tokenizer does not put the id 2 first, as CLS",
    ),
    # reference
    "reference_narrow": (
        array(REFERENCE, "train_cls", lambda a: a[:, :8].copy()),
        r"train_cls is F32 \(7, 8\)",
    ),
    "reference_double": (
        array(REFERENCE, "calibration_cls", lambda a: a.astype(np.float64)),
        "calibration_cls is F64",
    ),
    "reference_classes": (
        array(REFERENCE, "train_logits", lambda a: a[:, :4].copy()),
        r"train_logits is F32 \(7, 4\)",
    ),
    "reference_absent": (
        without(REFERENCE, "train_labels"),
        "it lacks the array 'train_labels'",
    ),
    # sub-heads
    "subhead_of_no_class": (
        subhead(category="Яхты"),
        "the category 'Яхты' is not a class of this bundle",
    ),
    "subhead_of_other": (
        subhead(category="Other"),
        "'Other' cannot be the name of a class",
    ),
    "subhead_names": (subhead(names=["Двери"]), "subheads.json: categories.0.names"),
    "subhead_names_twice": (subhead(names=["Двери", "Двери"]), "twice"),
    "subhead_names_more": (
        subhead(names=["А", "Б", "В"]),
        r"the array 0.weights is F64 \(2, 32\), where F64 \(3, 32\) is expected",
    ),
    "subhead_nan": (
        array(SUBHEADS, "0.biases", first(np.nan)),
        "the array 0.biases holds NaN or infinite numbers",
    ),
    "subhead_single": (
        array(SUBHEADS, "0.biases", lambda a: a.astype(np.float32)),
        "0.biases is F32",
    ),
    "subhead_narrow": (
        array(SUBHEADS, "0.weights", lambda a: a[:, :8].copy()),
        r"0.weights is F64 \(2, 8\)",
    ),
    "subhead_list": (text("subheads.json", "[]"), "subheads.json: expected an object"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bundle_that_is_signed_and_wrong_is_one_line_that_names_its_file(copy, name):
    change, message = CASES[name]
    change(copy)
    sign(copy)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(str(copy))
    line = str(caught.value)
    assert caught.value.exit_code == 2
    assert line.startswith(f"{copy}: ")
    assert "\n" not in line
    assert len(line) < 700
    assert line.endswith(("Restore it, or train again", "Train again"))


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "label_mapping.json",
        WEIGHTS,
        STATISTICS,
        "precision.json",
        "text.json",
        "tokenizer.json",
    ],
)
def test_bundle_file_that_the_manifest_does_not_ask_for_either_is_missed(copy, name):
    (copy / name).unlink()
    sign(copy)
    with pytest.raises(
        BundleError, match=f"{name}: it is missing. Restore it, or train again"
    ):
        load_bundle(str(copy))


@pytest.mark.parametrize(
    "name",
    [
        "modeling.py",
        "training_args.bin",
        "optimiser.pt",
        "x.pkl",
        "lib.so",
        "adapter_config.json",
        "plain",
    ],
)
def test_bundle_file_that_may_hold_code_is_refused_although_it_is_signed(copy, name):
    (copy / name).write_bytes(b"{}")
    sign(copy)
    with pytest.raises(
        BundleError,
        match=(
            f"manifest.json names {name}, which no bundle may hold. Restore the bundle"
        ),
    ):
        load_bundle(str(copy))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda arrays: arrays["train_cls"].fill(np.nan),
            "the array train_cls holds NaN or infinite numbers",
        ),
        (
            lambda arrays: arrays.update(train_labels=np.arange(6)),
            "the arrays of the train split have different numbers of rows",
        ),
        (
            lambda arrays: arrays["train_labels"].fill(5),
            "the labels of the train split do not fit 5 classes",
        ),
        (
            lambda arrays: arrays["calibration_labels"].fill(-2),
            "the labels of the calibration split do not fit 5 classes",
        ),
    ],
)
def test_bundle_reference_is_checked_when_it_is_read(copy, change, message):
    edit_arrays(copy, REFERENCE, change)
    sign(copy)
    bundle = load_bundle(str(copy))
    with pytest.raises(BundleError, match=f"{REFERENCE}: {message}"):
        load_reference(bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "v2\x1b[31m"}, "version holds control characters"),
        ({"version": ""}, "version: "),
        ({"version": None}, "version: expected a valid string"),
        ({"code_version": 5}, "code_version: expected a valid string"),
        ({"derived_from": "v1"}, "derived_from: expected"),
        ({"stranger": 1}, "it has an unknown key 'stranger'"),
    ],
)
def test_bundle_manifest_with_a_wrong_value_is_one_line(copy, changes, message):
    sign(copy, **changes)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(str(copy))
    assert "\x1b" not in str(caught.value)


def test_bundle_file_larger_than_the_manifest_says_is_refused_unread(copy):
    os.truncate(copy / "evaluation.json", 2**40)  # sparse
    with pytest.raises(BundleError, match=r"evaluation\.json differs from the manifest"):
        load_bundle(str(copy))


def test_bundle_file_name_with_an_escape_sequence_is_not_printed(copy):
    (copy / "\x1b]0;title\x07").touch()
    with pytest.raises(
        BundleError,
        match=r"\\x1b\]0;title\\x07 is not in the manifest\. Remove this file",
    ) as caught:
        load_bundle(str(copy))
    assert "\x1b" not in str(caught.value)


def test_a_local_bundle_that_changed_after_the_driver_looked_is_refused_by_a_worker(copy):
    fingerprint = load_bundle(str(copy)).fingerprint
    before = (copy / "text.json").stat()
    data = (copy / "text.json").read_bytes()
    (copy / "text.json").write_bytes(
        data.replace(b'"max_length": 64', b'"max_length": 16')
    )
    os.utime(
        copy / "text.json", ns=(before.st_atime_ns, before.st_mtime_ns)
    )  # as `cp -p` and `rsync -t` do
    with pytest.raises(BundleError, match=r"text\.json differs from the manifest"):
        load_bundle(str(copy), fingerprint=fingerprint)


def test_links_inside_a_bundle_count_by_what_they_lead_to(copy, tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    shutil.move(copy / "temperature.json", good)
    (copy / "temperature.json").symlink_to(good)
    assert load_bundle(str(copy)).fitted.labels == LABELS
    bad.write_bytes(good.read_bytes().replace(b"1", b"2"))
    (copy / "temperature.json").unlink()
    (copy / "temperature.json").symlink_to(bad)
    with pytest.raises(BundleError, match=r"temperature\.json differs from the manifest"):
        load_bundle(str(copy))
    for target in ("nowhere", "temperature.json", "/dev/zero", "."):
        (copy / "temperature.json").unlink()
        (copy / "temperature.json").symlink_to(target)
        with pytest.raises(BundleError, match=r"temperature\.json is missing"):
            load_bundle(str(copy))
