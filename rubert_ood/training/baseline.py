"""The baseline that a fine-tuned BERT must beat: TF-IDF of words and characters, linear SVM."""

from dataclasses import dataclass, replace

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.svm import LinearSVC

from rubert_ood.ads.dataset import Ads, Dataset, LabelledAds, Workers
from rubert_ood.ood.outputs import sample_rows

MAX_TRAIN_ADS = 50_000
"""Its n-grams of characters take about 40 kB of memory an ad."""


@dataclass(frozen=True)
class Baseline:
    """What it reaches on the test ads."""

    accuracy: float
    macro_f1: float
    num_train: int | None = None
    """Ads that it was trained on, a sample; None is all of train."""


def baseline_of(dataset: Dataset, workers: Workers) -> Baseline | None:
    """Train on train, of which a seeded sample is taken where it is large, and measure on test.

    The texts are brought together where the work is done. None where no word is in two ads.
    """
    rows = sample_rows(len(dataset.train), MAX_TRAIN_ADS)
    pair = (dataset.train.take(rows), dataset.test)
    baseline = next(iter(workers.map(_measure, [pair])))
    if baseline is None:
        return None
    is_sample = len(rows) < len(dataset.train)
    return replace(baseline, num_train=len(rows)) if is_sample else baseline


def _measure(pair: tuple[Ads, Ads]) -> Baseline | None:
    train, test = pair
    return baseline_metrics(train.here(), test.here())


def words_and_letters() -> Pipeline:
    """Return TF-IDF of words, pairs of words and runs of 3 to 5 letters, with a linear SVM."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    letters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=2
    )
    return make_pipeline(make_union(words, letters), LinearSVC(random_state=0))


def baseline_metrics(train: LabelledAds, test: LabelledAds) -> Baseline | None:
    """Train on train, measure on test; None where so few ads share no word."""
    model = words_and_letters()
    try:
        predicted_N = model.fit(train.texts, train.labels_N).predict(test.texts)
    except ValueError as error:
        if "no terms remain" not in str(error) and "empty vocabulary" not in str(error):
            raise
        return None
    return Baseline(
        accuracy=float(accuracy_score(test.labels_N, predicted_N)),
        macro_f1=float(f1_score(test.labels_N, predicted_N, average="macro")),
    )
