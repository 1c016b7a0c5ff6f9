"""A YAML file is read strictly."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rubert_ood.settings.yaml_file import read_yaml
from tests.unit.settings.jobs import TRAIN, message, train


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("input_uri: [x\n: : }", "the file is not valid YAML: while parsing"),
        ("input_uri: 'x", "the file is not valid YAML: while scanning"),
        ("\tinput_uri: x", "the file is not valid YAML: while scanning"),
        (
            "input_uri: Москва\n".encode("cp1251"),
            "the file is not valid YAML: unacceptable character",
        ),
        (
            "!!python/object:os.system x",
            "the file is not valid YAML: could not determine a constructor",
        ),
        ("- input_uri", "the file must hold lines of `setting: value`"),
        ("just a line", "the file must hold lines of `setting: value`"),
    ],
)
def test_a_file_that_is_not_yaml_is_named(
    config: Callable[[str | bytes], str], content: str | bytes, reason: str
) -> None:
    uri = config(content)
    assert message(train, "--config", uri).startswith(f"{uri}: {reason}")


def test_an_empty_file_sets_nothing(config: Callable[[str], str]) -> None:
    assert train("--config", config("# nothing\n"), *TRAIN).input_uri == "in"


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    assert message(train, "--config", f"{tmp_path}/{name}", *TRAIN).startswith(
        f"config: {tmp_path}/{name}: "
    )


def test_a_file_of_other_storage_is_refused() -> None:
    line = message(train, "--config", "gs://bucket/job.yaml", *TRAIN)
    assert line == (
        "config: gs://bucket/job.yaml: this kind of storage is not supported."
        " Use a local path or s3://BUCKET/KEY"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "input_uri: a\nversion: v\ninput_uri: b\n",
            "line 3: input_uri is given twice, first in line 1. Remove one",
        ),
        (
            "input_uri: a\nsplit:\n  seed: 1\n  test_fraction: 0.1\n  seed: 2\n",
            "line 5: split.seed is given twice, first in line 3. Remove one",
        ),
        (
            "split: {seed: 1}\noptimiser: {}\n'split': {seed: 2}\n",
            "line 3: split is given twice, first in line 1. Remove one",
        ),
        (
            'evaluation: {ood_uri: a, "ood_uri": b}\n',
            ("line 1: evaluation.ood_uri is given twice, first in line 1. Remove one"),
        ),
        ("1: x\n", "line 1: the int '1' is not the name of a setting"),
        ("yes: x\n", "line 1: the bool 'yes' is not the name of a setting"),
        ("~: x\n", "line 1: the null '~' is not the name of a setting"),
        (
            "? [a, b]\n: x\n",
            "line 1: a list or a group is not the name of a setting",
        ),
        (
            f"input_uri: {'[' * 30}{']' * 30}\n",
            "line 1: the file is nested too deeply",
        ),
        (f"input_uri: {'[' * 5_000}{']' * 5_000}\n", "the file is nested too deeply"),
        ("a: &a [*a]\n", "line 1: the file is nested too deeply"),
        (f"# {'x' * 2**20}\n", "the file is larger than 1,048,576 bytes"),
        (
            "split:\n\tseed: 1\n",
            (
                "the file is not valid YAML: while scanning for the next token, found"
                r" character '\t' that "
            ),
        ),
        ("version: \x00\n", "the file is not valid YAML: unacceptable character"),
        (
            "version: a\n---\nversion: b\n",
            (
                "the file is not valid YAML: expected a single document in the"
                " stream, but found another"
            ),
        ),
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe", "the file is not valid YAML: "),
    ],
)
def test_a_file_that_a_reader_may_misread_is_refused_with_its_line(
    config, content, reason: str
) -> None:
    uri = config(content)
    assert message(train, "--config", uri).startswith(f"{uri}: {reason}")


def test_aliases_that_multiply_are_refused_before_they_are_expanded(config) -> None:
    """The billion laughs: 9 aliases of 9 aliases, ten times."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for number in range(1, 11):
        lines.append(f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]")
    uri = config("\n".join(lines))
    assert message(train, "--config", uri).endswith(
        "the file has too many values (more than 20,000, aliases included)"
    )


def test_a_few_aliases_and_merges_are_fine(config) -> None:
    content = "input_uri: &uri in\nevaluation: {ood_uri: *uri}\n"
    content += "split: &split {seed: 1}\nversion: v\n"
    assert train("--config", config(content)).evaluation.ood_uri == "in"
    merged = "input_uri: in\nfit: &fit {threshold_quantile: 0.9}\n"
    loaded = train("--config", config(f"{merged}optimiser: {{seed: 1}}\n"))
    assert loaded.fit.threshold_quantile == 0.9


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_not_part_of_a_name(config, encoding: str) -> None:
    assert (
        train("--config", config("input_uri: диван\n".encode(encoding))).input_uri
        == "диван"
    )


def test_a_complaint_about_yaml_does_not_quote_the_file(config) -> None:
    assert "SECRET" not in message(
        train, "--config", config("aws_secret_access_key: SECRET\nx: [SECRET\n")
    )


@pytest.mark.parametrize("content", ["split:\n", "split: null\n", "split: ~\n"])
def test_an_empty_group_is_refused_with_what_to_do(config, content: str) -> None:
    line = message(train, "--config", config(f"input_uri: in\n{content}"))
    assert line == "split: the group is empty. Set something in it, or leave the line out"


def test_dates_of_a_file_are_text(tmp_path) -> None:
    (tmp_path / "a.yaml").write_text("version: 2026-11-24\nrun_date: 2026-02-30\n")
    found = read_yaml(str(tmp_path / "a.yaml"))
    assert found == {"version": "2026-11-24", "run_date": "2026-02-30"}
