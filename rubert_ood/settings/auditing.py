"""The settings of an audit of labels."""

from pydantic import Field

from rubert_ood.settings.base import ExecutorSettings
from rubert_ood.settings.kinds import Seed
from rubert_ood.settings.shared import ColumnSettings, FeatureComputeSettings


class AuditLabelsSettings(ExecutorSettings):
    """Find labels of labelled ads that are probably wrong, by confident learning. Write
    audit.html and suspects.parquet and .csv."""

    input_uri: str = Field(min_length=1)
    """Labelled ads, CSV or Parquet."""
    output_uri: str = "output/audit"
    """Folder of the page and the tables."""
    bundle_uri: str | None = Field(None, min_length=1)
    """Bundle whose CLS features tell the classes. Choose one that these ads did not train.
    Default: words alone (TF-IDF)."""
    folds: int = Field(5, ge=2, le=20)
    """Parts of the ads. Each is judged by a model that learned from the others."""
    max_suspects: int = Field(1_000, gt=0)
    """Largest number of suspects on the page. The tables have all of them."""
    seed: Seed = 42
    """Seed of the folds."""
    columns: ColumnSettings = ColumnSettings()
    compute: FeatureComputeSettings = FeatureComputeSettings()
