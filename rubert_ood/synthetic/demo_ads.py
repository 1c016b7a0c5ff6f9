"""The tables of the demo: labelled ads, a catalogue to score, hard cases, OOD texts."""

import io
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood import storage
from rubert_ood.synthetic.catalogue import (
    hard_cases,
    out_of_domain_texts,
    write_catalogue,
)

OOD_TEXTS_PER_KIND = 100


@dataclass(frozen=True)
class DemoAds:
    """Where the tables lie."""

    folder: str

    @property
    def train(self) -> str:
        """Folder of labelled ads."""
        return storage.join(self.folder, "train")

    @property
    def catalogue(self) -> str:
        """Folder of ads to score."""
        return storage.join(self.folder, "catalogue")

    @property
    def hard_cases(self) -> str:
        """Ads that a good model gets right, one table."""
        return storage.join(self.folder, "hard_cases.parquet")

    @property
    def out_of_domain(self) -> str:
        """Texts that are not ads of this catalogue, by kind, one table."""
        return storage.join(self.folder, "out_of_domain.parquet")

    def write(self, *, num_train: int, num_score: int, seed: int) -> None:
        """Generate all of them."""
        write_catalogue(self.train, num_train, seed=seed, balanced=True)
        write_catalogue(self.catalogue, num_score, seed=seed + 1, rows_per_file=10_000)
        cases = hard_cases()
        _put(
            self.hard_cases,
            text=[case.text for case in cases],
            label=[case.label for case in cases],
        )
        texts, kinds = list[str](), list[str]()
        for kind, of_kind in out_of_domain_texts(OOD_TEXTS_PER_KIND, seed=seed).items():
            texts += of_kind
            kinds += [kind] * len(of_kind)
        _put(self.out_of_domain, text=texts, kind=kinds)


def _put(uri: str, **columns: list[str]) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="zstd")
    storage.put_bytes(uri, file.getvalue())
