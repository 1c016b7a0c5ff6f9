"""Labelled ads in which a model reads something: a run answers the others without the network."""

import numpy as np

from rubert_ood.ads.labelled_ads import LabelledAds
from rubert_ood.bundle import Bundle
from rubert_ood.classifier.windows import cut, is_blank
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog

log = StepLog("data")

ADS_AT_ONCE = 4096


def readable_ads(ads: LabelledAds, bundle: Bundle) -> LabelledAds:
    """Leave out the ads that are nothing to the model of a bundle, and count them in the log.

    Of such an ad a run says `empty` and Other, whatever the network would make of it.
    """
    tokenizer = bundle.tokenizer()
    kept = list[int]()
    for start in range(0, len(ads), ADS_AT_ONCE):
        texts = ads.texts[start : start + ADS_AT_ONCE]
        blank_n = is_blank(tokenizer, texts, cut(tokenizer, texts, bundle.text))
        kept += (start + np.flatnonzero(~blank_n)).tolist()
    if len(kept) == len(ads):
        return ads
    log.warning(
        "leaves out %s: the model knows no character of them",
        count_of(len(ads) - len(kept), "labelled ad"),
    )
    return ads.take(np.array(kept, dtype=np.int64))
