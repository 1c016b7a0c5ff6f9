"""The second stage: the actor that holds the model."""

import os
import time
from contextlib import suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rubert_ood.bundle import Bundle
from rubert_ood.classifier import windows
from rubert_ood.scoring.job import (
    ScoringJob,
    attempt,
    from_ipc,
    job_bundle,
    to_ipc,
)

if TYPE_CHECKING:
    from rubert_ood.classifier.classifier import Classifier


class Scorer:
    """The actor that holds the model."""

    def __init__(self, job: ScoringJob) -> None:
        self.job = job
        self._idle_since: float | None = None
        self._loading = Lock()
        self._classifier: Classifier | None = None
        Thread(target=self._warm_up, daemon=True).start()

    def _warm_up(self) -> None:
        """Load while the first shard is encoded. A failure comes again with each shard, which can
        report its reason."""
        with suppress(Exception):
            self.classifier()

    def classifier(self) -> "Classifier":
        """Return the loaded model."""
        with self._loading:
            if self._classifier is None:
                import torch

                from rubert_ood.classifier.classifier import Classifier

                torch.set_num_threads(
                    max(1, len(os.sched_getaffinity(0)) // self.job.actors_per_node)
                )
                self._classifier = Classifier.load(
                    self.bundle.folder, use_gpu=self.job.use_gpu, precision=self.job.precision
                )
            return self._classifier

    @property
    def bundle(self) -> Bundle:
        return job_bundle(self.job.bundle_uri, self.job.bundle_fingerprint)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        return attempt(self._score_shard, item)

    def _score_shard(self, item: dict[str, Any]) -> dict[str, Any]:
        self.classifier()  # loading is neither work nor waiting
        started = time.perf_counter()
        texts = from_ipc(item["texts"])
        scores = to_ipc(self.score(texts))
        ids = windows.Windows.of(texts).ids
        padded_tokens = self.classifier().padded_tokens(ids, token_budget=self.job.token_budget)
        ended = time.perf_counter()
        idle_s = 0.0 if self._idle_since is None else started - self._idle_since
        self._idle_since = ended
        return {
            "texts": scores,
            "busy_s": ended - started,
            "idle_s": idle_s,
            "padded_tokens": padded_tokens,
        }

    def score(self, texts: pa.Table) -> pa.Table:
        """Replace the token ids of each text by what the model says of it."""
        read = windows.Windows.of(texts)
        logits_NC, cls_NH = windows.run(self.classifier(), read, token_budget=self.job.token_budget)
        decisions = self.bundle.fitted.decide(logits_NC, cls_NH)
        columns: dict[str, Any] = {
            "label": pa.array(list(decisions.label_N), pa.string()),
            "confidence": pa.array(decisions.confidence_N, pa.float32()),
            "topk_labels": pa.array(decisions.topk_labels_Nk.tolist(), pa.list_(pa.string())),
            "topk_scores": pa.array(decisions.topk_scores_Nk.tolist(), pa.list_(pa.float32())),
            "is_ood": pa.array(decisions.is_ood_N, pa.bool_()),
            "ood_distance": pa.array(decisions.ood_distance_N, pa.float64()),
            "ood_z": pa.array(decisions.ood_z_N, pa.float64()),
            "ood_p": pa.array(decisions.ood_p_N, pa.float64()),
            "num_tokens": texts["num_tokens"],
            "num_chunks": pa.array(read.num_chunks_N, pa.int32()),
            "is_cut": texts["is_cut"],
            "text_key": texts["text_key"],
        }
        if self.job.report_texts:
            columns["excerpt"] = texts["excerpt"]
        if self.bundle.subheads:
            sub_label_N, sub_confidence_N = self.bundle.subheads.predict(
                cls_NH, decisions.label_N.tolist()
            )
            columns["sub_label"] = pa.array(sub_label_N.tolist(), pa.string())
            columns["sub_confidence"] = pa.array(
                sub_confidence_N, pa.float32(), from_pandas=True
            )  # NaN is null
        if self.job.embedding:
            flat = pa.array(cls_NH.astype(np.float16).ravel(), pa.float16())
            columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, cls_NH.shape[1])
        return pa.table(columns)
