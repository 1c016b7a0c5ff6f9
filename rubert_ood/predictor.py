"""A bundle ready to score: the one place that reads a text, runs the network and decides.

The nightly job, `predict`, the estimate of a run and a notebook all take this way:

    ads -> reader: each different text once, cleaned, as token ids -> score: what the model says of
    each text -> unfold: one row per ad

Shapes: N ads, T different texts, C classes, H hidden.
"""

from collections.abc import Iterable
from functools import partial
from os import PathLike
from threading import RLock
from typing import TYPE_CHECKING, overload

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from rubert_ood.ads.given import Ads, ArrowStream, GivenAds, given_ads
from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.classifier import windows
from rubert_ood.classifier.fold import TakeOver, TextFolder
from rubert_ood.classifier.span import SharedClock
from rubert_ood.classifier.tokenizer import TextTokenizer
from rubert_ood.classifier.tokens import num_tokens
from rubert_ood.ood.blas import one_blas_thread
from rubert_ood.ood.limits import d2_limit
from rubert_ood.ood.outputs import Outputs
from rubert_ood.pointers.champion import open_bundle
from rubert_ood.runs.part import part_schema, unfold
from rubert_ood.score_table import ForwardPass, HostOutputs, score_table
from rubert_ood.settings import ColumnSettings
from rubert_ood.settings.problems import expect
from rubert_ood.widget import make_widget

if TYPE_CHECKING:
    from ipywidgets import VBox

    from rubert_ood.classifier.classifier import Classifier
    from rubert_ood.classifier.device_decision import DeviceDecision

ADS_AT_ONCE = {True: 20_000, False: 2_000}
"""By use_gpu: ads that are read before the network runs; the nightly job cuts its shards so."""
OF_A_RUN = ("ad_id", "scored_in")
"""Columns of a part that `predict` leaves out, or takes from its caller."""
TOKEN_BUDGET = {True: 131_072, False: 2_048}
"""By use_gpu: a GPU wants large products, a CPU batches that stay in its cache."""


def load(uri: str | PathLike[str], *, use_gpu: bool = False) -> "Model":
    """Load a bundle (a folder, s3:// or .../champion), check its hashes; the network comes later.

    Raises BundleError that names the file which is missing, differs or does not make sense."""
    expect(use_gpu, bool, "use_gpu")
    return Model(open_bundle(uri), use_gpu=use_gpu)


class Model:
    """A bundle and its network. Threads may share it, and get the numbers that each gets alone.
    Copied, or sent to another process, it is loaded there again, and must be the same."""

    def __init__(
        self, bundle: Bundle, *, use_gpu: bool = False, token_budget: int | None = None
    ) -> None:
        self.bundle = bundle
        self.use_gpu = use_gpu
        self.token_budget = token_budget or TOKEN_BUDGET[use_gpu]
        """Tokens of one batch, with its padding where there is some."""
        self._loading = RLock()
        self._tokenizer: TextTokenizer | None = None
        self._classifier: Classifier | None = None
        self._on_device: DeviceDecision | None = None
        self._clock = SharedClock()

    def __reduce__(self) -> tuple[object, ...]:
        """Travel as what finds the bundle again."""
        found_by = self.bundle.uri, self.bundle.fingerprint
        return _load_again, (*found_by, self.use_gpu, self.token_budget)

    def __repr__(self) -> str:
        device = "GPU" if self.use_gpu else "CPU"
        what = f"{len(self.labels)} classes, {self.bundle.precision} on {device}"
        return f"Model({self.bundle.uri!r}: {what})"

    @property
    def labels(self) -> list[str]:
        """The classes, in the order of the logits."""
        return self.bundle.fitted.labels

    @property
    def hidden_size(self) -> int:
        """H, the length of a CLS vector."""
        return int(self.bundle.fitted.statistics.means_CH.shape[1])

    @property
    def d2_limit(self) -> float | None:
        """d2 above which an ad is far, unless by class; None if another detector decides."""
        return d2_limit(self.bundle.fitted.decision, self.bundle.fitted.thresholds)

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of the bundle, read once."""
        with self._loading:
            if self._tokenizer is None:
                self._tokenizer = self.bundle.tokenizer()
            return self._tokenizer

    @property
    def classifier(self) -> "Classifier":
        """The network, loaded once. Raises SettingsError on a machine that lacks such a GPU."""
        with self._loading:
            if self._classifier is None:
                from rubert_ood.classifier.classifier import Classifier

                self._classifier = Classifier.load(
                    self.bundle.folder,
                    self.tokenizer,
                    use_gpu=self.use_gpu,
                    precision=self.bundle.precision,
                )
            return self._classifier

    @property
    def _decision(self) -> "DeviceDecision":
        """What was fitted, beside the network on the GPU."""
        with self._loading:
            if self._on_device is None:
                from rubert_ood.classifier.device_decision import DeviceDecision

                device = self.classifier.device
                self._on_device = DeviceDecision(self.bundle.fitted, device)
            return self._on_device

    def with_network(self) -> "Model":
        """Load the network now; return the model."""
        self.classifier  # noqa: B018
        return self

    # for data scientists

    @overload
    def predict(
        self,
        ads: pd.DataFrame | pd.Series | Iterable[str | None] | str,
        *,
        columns: ColumnSettings | None = None,
        embedding: bool = False,
    ) -> pd.DataFrame: ...

    @overload
    def predict(
        self,
        ads: ArrowStream,
        *,
        columns: ColumnSettings | None = None,
        embedding: bool = False,
    ) -> pa.Table: ...

    def predict(
        self, ads: Ads, *, columns: ColumnSettings | None = None, embedding: bool = False
    ) -> pd.DataFrame | pa.Table:
        """Classify ads: one row per ad, in their order, as the nightly job writes it.

        `ads` is a DataFrame or an Arrow table (of pyarrow, polars, DuckDB, ...) with title and
        description (`columns` names them otherwise), a list or Series of texts, or one text. An
        Arrow table comes back as one of pyarrow, all else as a DataFrame with the index of the
        ads, if they have one. Columns:

            ad_id           as given, if given (the parts of a run hold it as text)
            label           class, or Other where the model does not trust itself
            confidence      float32, probability of the best class
            topk_labels     the best classes, whatever the label, and their probabilities
            topk_scores
            is_ood          whether the ad is out of domain
            ood_distance    float64: d2, squared Mahalanobis distance to the nearest class
            ood_z, ood_p    its z, and the conformal p-value of the detector that decides
            status          ok, or empty: nothing to read, then Other without scores (null)
            num_tokens      that were read, num_chunks windows; is_cut: not to the end of the ad
            text_key        the same for ads of the same cleaned text
            sub_label       class inside the label, sub_confidence: if the bundle has sub-heads
            embedding       float16 (H,), with embedding=True

        Raises SchemaError, one line that names the column, where the ads are not such a table.
        """
        given = given_ads(ads, _columns(columns))
        table = self._rows(given, embedding=embedding)
        if given.is_arrow:
            ids = given.ad_id
            return table if ids is None else table.add_column(0, "ad_id", ids)
        frame = table.to_pandas()
        if given.ad_id is not None:
            frame.insert(0, "ad_id", given.ad_id.array)
        return frame if given.index is None else frame.set_axis(given.index)

    def embed(
        self, ads: Ads, *, columns: ColumnSettings | None = None
    ) -> NDArray[np.float32]:
        """Return the CLS vector of each ad: float32 (N, H); NaN where there is nothing to read.

        `ads` and errors are those of `predict`.
        """
        given = given_ads(ads, _columns(columns))
        cls_NH = np.full((len(given.texts), self.hidden_size), np.nan, np.float32)
        for start, piece in self._pieces(given):
            texts, text_index = self._read(piece)
            cls_TH = self.outputs(texts).cls_NH
            filled = np.flatnonzero(text_index.is_valid())
            cls_NH[start + filled] = cls_TH[text_index.drop_null().to_numpy()]
        return cls_NH

    def widget(self) -> "VBox":
        """Return a text field with its answer, for a notebook; it needs the extra `notebook`."""
        return make_widget(self)

    # for the jobs

    def reader(self, take_over: TakeOver | None = None) -> TextFolder:
        """Return what reads the ads of one table; `take_over` is asked for known results first."""
        bundle = self.bundle
        return TextFolder(
            bundle.cleaner, self.tokenizer, bundle.text, take_over, bundle.stack
        )

    def outputs(self, texts: pa.Table) -> Outputs:
        """Run the network on what the reader made: T texts, without labels."""
        return self._run(windows.Windows.of(texts))

    def _run(self, read: windows.Windows) -> Outputs:
        return windows.run(self.classifier, read, token_budget=self.token_budget)

    def score(self, texts: pa.Table, *, embedding: bool = False) -> pa.Table:
        """Decide on each text that the reader made; its token ids are left out of the answer."""
        return self.finish(self.forward(texts), embedding=embedding)

    def forward(self, texts: pa.Table) -> ForwardPass:
        """Run the network on what the reader made: the first half of `score`.

        A GPU is only told what to do; `finish` waits for it.
        """
        read = windows.Windows.of(texts)
        if self.use_gpu:
            outputs = self._decision.start(self.classifier, read, self.token_budget)
        else:
            found, span = self._clock.time(partial(self._run, read))
            outputs = HostOutputs(found, span)
        return ForwardPass(texts, read.num_windows_N, outputs)

    def finish(self, passed: ForwardPass, *, embedding: bool = False) -> pa.Table:
        """Decide on what `forward` returned: the second half of `score`.

        Another thread may do it while this one runs the network on the next texts.
        """
        with one_blas_thread():
            return score_table(passed, self.bundle, embedding=embedding)

    def computed_tokens(self, texts: pa.Table) -> tuple[int, int]:
        """Count the tokens that `score` reads of such texts, and the padding beside them."""
        ids = windows.Windows.of(texts).ids
        padded = self.classifier.padded_tokens(ids, token_budget=self.token_budget)
        return int(num_tokens(ids).sum()), padded

    def _rows(self, given: GivenAds, *, embedding: bool) -> pa.Table:
        size = self.hidden_size if embedding else None
        schema = part_schema([], size, {}, subheads=self.bundle.subheads is not None)
        names = [name for name in schema.names if name not in OF_A_RUN]
        tables = []
        for _, piece in self._pieces(given):
            texts, text_index = self._read(piece)
            rows = unfold(self.score(texts, embedding=embedding), text_index)
            tables.append(rows.select(names))
        return pa.concat_tables(tables).combine_chunks()

    def _pieces(self, given: GivenAds) -> list[tuple[int, list[str]]]:
        """Cut the ads into what is read at once: first row and texts; one piece without ads."""
        step = ADS_AT_ONCE[self.use_gpu]
        starts = range(0, max(1, len(given.texts)), step)
        return [(start, given.texts[start : start + step]) for start in starts]

    def _read(self, ads: list[str]) -> tuple[pa.Table, pa.Int64Array]:
        reader = self.reader()
        for ad in ads:
            reader.add(ad)
        return reader.finish()


def _load_again(uri: str, fingerprint: str, use_gpu: bool, token_budget: int) -> Model:
    """Make a model that was pickled; BundleError when its bundle is another now."""
    bundle = load_bundle(uri, fingerprint=fingerprint)
    return Model(bundle, use_gpu=use_gpu, token_budget=token_budget)


def _columns(given: ColumnSettings | None) -> ColumnSettings:
    if given is None:
        return ColumnSettings()
    expect(given, ColumnSettings, "columns")
    return given
