"""The baseline that a fine-tuned BERT must beat: TF-IDF of words and characters, linear SVM."""

from dataclasses import dataclass

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC

from rubert_ood.ads.dataset import LabelledAds


@dataclass(frozen=True)
class Baseline:
    """What it reaches on the test ads."""

    accuracy: float
    macro_f1: float


def baseline_metrics(train: LabelledAds, test: LabelledAds) -> Baseline:
    """Train on train, measure on test."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    letters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=2
    )
    model = make_pipeline(make_union(words, letters), LinearSVC(random_state=0))
    predicted_N = model.fit(train.texts, train.labels_N).predict(test.texts)
    return Baseline(
        accuracy=float(accuracy_score(test.labels_N, predicted_N)),
        macro_f1=float(f1_score(test.labels_N, predicted_N, average="macro")),
    )
