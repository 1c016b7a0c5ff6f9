"""Ways to get logits and CLS vectors from texts in one process: ours, and what people use instead.

A way takes the cleaned texts of some ads and returns logits (N, C) and CLS (N, H), or one of them
alone where it cannot give the other. Everything that it needs beforehand (an export, a compilation)
happens when it is made.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoTokenizer

from rubert_ood.bundle import Bundle
from rubert_ood.classifier.checkpoint import load_network
from rubert_ood.classifier.classifier import Classifier, ClsTap
from rubert_ood.classifier.tokenizer import load_tokenizer
from rubert_ood.classifier.tokens import length_batches, num_tokens, pad, tokenize
from rubert_ood.settings import Precision

Output = tuple[np.ndarray | None, np.ndarray | None]
Way = Callable[[list[str]], Output]
NOTEBOOK_BATCH, PIPELINE_BATCH = 32, 64
PIPELINE_BATCHES = {"cpu": PIPELINE_BATCH, "cuda": 256}
DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}


def bare_model(
    bundle: Bundle,
    token_budget: int,
    precision: Precision = "fp32",
    *,
    use_gpu: bool = False,
) -> Callable[[pa.ListArray], Output]:
    """Our forward pass, on token ids: what the pipeline would do if everything else were free."""
    classifier = Classifier.load(bundle.folder, use_gpu=use_gpu, precision=precision)
    return lambda ids: classifier.run(ids, token_budget=token_budget)[:2]


def padded_model(bundle: Bundle, token_budget: int) -> Callable[[pa.ListArray], Output]:
    """The model as transformers has it, in length-ordered batches under the same token budget."""
    classifier = Classifier.load(bundle.folder)
    classifier.network, classifier._packs = load_network(bundle.folder).eval(), False
    classifier._tap = ClsTap(classifier.network)
    return lambda ids: classifier.run(ids, token_budget=token_budget)[:2]


def notebook(bundle: Bundle, _token_budget: int) -> Way:
    """Batches of 32 in file order, padded, one pass for the logits and another for CLS; without its
    distances."""
    network = load_network(bundle.folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(bundle.folder)

    @torch.inference_mode()
    def run(texts: list[str]) -> Output:
        logits, cls = [], []
        for start in range(0, len(texts), NOTEBOOK_BATCH):
            batch = tokenizer(
                texts[start : start + NOTEBOOK_BATCH],
                truncation=True,
                max_length=bundle.text.max_length,
                padding=True,
                return_tensors="pt",
            )
            logits.append(network(**batch).logits.numpy())
            cls.append(network.bert(**batch).last_hidden_state[:, 0].numpy())
        return np.concatenate(logits), np.concatenate(cls)

    return run


def hf_pipeline(bundle: Bundle, _token_budget: int) -> Way:
    """transformers.pipeline with batches of 64 in file order."""
    run_pipeline = make_pipeline(bundle.folder, bundle.text.max_length)

    def run(texts: list[str]) -> Output:
        return run_pipeline(texts), None

    return run


def make_pipeline(
    folder: str, max_length: int, device: str = "cpu"
) -> Callable[[list[str]], np.ndarray]:
    """Return texts -> logits (N, C) by the text-classification pipeline, on a GPU in bf16."""
    from transformers import pipeline

    classify = pipeline(
        "text-classification",
        model=folder,
        tokenizer=folder,
        device=device,
        dtype=DTYPES[device],
    )
    names = [
        classify.model.config.id2label[number]
        for number in range(classify.model.config.num_labels)
    ]

    def run(texts: list[str]) -> np.ndarray:
        answers = classify(
            texts,
            batch_size=PIPELINE_BATCHES[device],
            truncation=True,
            max_length=max_length,
            top_k=None,
            function_to_apply="none",
        )
        scores = [{item["label"]: item["score"] for item in answer} for answer in answers]
        return np.array(
            [[answer[name] for name in names] for answer in scores], np.float32
        )

    return run


def sentence_transformers(bundle: Bundle, _token_budget: int, device: str = "cpu") -> Way:
    """SentenceTransformer.encode: sorts by length, pads, gives CLS alone; on a GPU in bf16."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    encoder = Transformer(bundle.folder, max_seq_length=bundle.text.max_length)
    model = SentenceTransformer(
        modules=[encoder, Pooling(encoder.get_word_embedding_dimension(), "cls")],
        device=device,
    ).to(DTYPES[device])
    batch_size = NOTEBOOK_BATCH if device == "cpu" else PIPELINE_BATCHES[device]
    return lambda texts: (
        None,
        model.encode(texts, batch_size=batch_size, show_progress_bar=False),
    )


def transformers_model(
    bundle: Bundle, token_budget: int, device: str, compiler: str | None = None
) -> Callable[[pa.ListArray], Output]:
    """The model of transformers on token ids, in length-ordered padded batches under the same token
    budget; on a GPU in bf16, by torch.compile where a compiler is named."""
    network = load_network(bundle.folder).to(device, DTYPES[device]).eval()
    both: Any = _Both(network)
    if compiler is not None:
        both = torch.compile(both, dynamic=True, backend=compiler)
    pad_id = load_tokenizer(bundle.folder).ids.pad

    @torch.inference_mode()
    def run(ids: pa.ListArray) -> Output:
        batches = length_batches(num_tokens(ids), token_budget)
        outputs = []
        for rows in batches:
            arrays = pad(ids, rows, pad_id)
            outputs.append(
                both(*[torch.from_numpy(array).to(device) for array in arrays])
            )
        order = np.argsort(np.concatenate(batches))
        logits, cls = (
            torch.cat([output[number].float() for output in outputs]).cpu().numpy()[order]
            for number in (0, 1)
        )
        return logits, cls

    return run


class _Both(torch.nn.Module):
    """Logits and CLS from one pass, as a graph to export."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.network.bert(input_ids=input_ids, attention_mask=attention_mask)
        return self.network.classifier(hidden.pooler_output), hidden.last_hidden_state[
            :, 0
        ]


def onnx_runtime(bundle: Bundle, token_budget: int) -> Way:
    """ONNX Runtime fp32 in length-ordered batches under the same token budget."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        example = (
            torch.ones(2, 8, dtype=torch.int64),
            torch.ones(2, 8, dtype=torch.int64),
        )
        axes = {name: {0: "ads", 1: "tokens"} for name in ("input_ids", "attention_mask")}
        torch.onnx.export(
            _exportable(bundle),
            example,
            path,
            input_names=list(axes),
            output_names=["logits", "cls"],
            dynamic_axes=axes | {"logits": {0: "ads"}, "cls": {0: "ads"}},
            dynamo=False,
        )
        session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    return _in_length_order(
        bundle,
        token_budget,
        lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask}),
    )


def openvino(bundle: Bundle, token_budget: int) -> Way:
    """OpenVINO fp32 in length-ordered batches under the same token budget."""
    import openvino

    example = {
        name: torch.ones(2, 8, dtype=torch.int64)
        for name in ("input_ids", "attention_mask")
    }
    graph = openvino.convert_model(_exportable(bundle), example_input=example)
    limits = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = openvino.compile_model(graph, "CPU", limits)

    def run(ids_NL: np.ndarray, mask_NL: np.ndarray) -> list[np.ndarray]:
        result = compiled([ids_NL, mask_NL])
        return [np.array(result[number]) for number in (0, 1)]

    return _in_length_order(bundle, token_budget, run)


def _exportable(bundle: Bundle) -> torch.nn.Module:
    network = load_network(bundle.folder)
    network.set_attn_implementation("eager")
    return _Both(network).eval()


def _in_length_order(
    bundle: Bundle,
    token_budget: int,
    engine: Callable[[np.ndarray, np.ndarray], list[np.ndarray]],
) -> Way:
    """Feed an engine the padded batches that our own padded pass would take."""
    tokenizer = load_tokenizer(bundle.folder)

    def run(texts: list[str]) -> Output:
        ids = tokenize(tokenizer, texts, bundle.text.max_length)
        outputs: list[list[np.ndarray]] = []
        batches = length_batches(num_tokens(ids), token_budget)
        for rows in batches:
            outputs.append(engine(*pad(ids, rows, tokenizer.ids.pad)))
        order = np.argsort(np.concatenate(batches))
        logits, cls = (
            np.concatenate([output[number] for output in outputs])[order]
            for number in (0, 1)
        )
        return logits, cls

    return run


FILE_ORDER: dict[str, Callable[[Bundle, int], Way]] = {
    "notebook: two passes, file order": notebook,
    "HF pipeline, batch 64, file order": hf_pipeline,
}
LENGTH_ORDER: dict[str, Callable[[Bundle, int], Way]] = {
    "sentence-transformers (CLS alone), length order": sentence_transformers,
    "ONNX Runtime fp32, length order": onnx_runtime,
    "OpenVINO fp32, length order": openvino,
}
