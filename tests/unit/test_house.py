"""What CONTRIBUTING.md says of the house, measured: size of functions and modules, air, test files.

Ruff, mypy and import-linter check the rest (`make check`).
"""

import ast
import re
import statistics
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rubert_ood"
SOURCES = {
    str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.stat().st_size > 0
}
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}
MODULES = [name for name in SOURCES if not name.endswith("__init__.py")]
TEST_FILES = [
    str(path.relative_to(ROOT / "tests")) for path in ROOT.glob("tests/**/test_*.py")
]
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef

MAX_FUNCTION_LINES = 50
MAX_PARAMETERS = 7
MAX_UNTYPED_RECORDS = 40
MEDIAN_MODULE_LINES = 120
MAX_MEAN_LINE = 40
SHARED = {
    "annotating/answers.py": "integration/workflows/test_annotate.py",
    "annotating/choose.py": "integration/workflows/test_annotate.py",
    "annotating/document.py": "integration/workflows/test_annotate.py",
    "annotating/label_studio.py": "integration/workflows/test_annotate.py",
    "annotating/labelled.py": "integration/workflows/test_annotate.py",
    "annotating/look.py": "integration/workflows/test_annotate.py",
    "annotating/made.py": "integration/workflows/test_annotate.py",
    "annotating/texts.py": "integration/workflows/test_annotate.py",
    "auditing/audit.py": "integration/workflows/test_audit.py",
    "auditing/material.py": "integration/workflows/test_audit.py",
    "bundle/reference.py": "unit/bundle/test_content.py",
    "bundle/write_fitted.py": "unit/bundle/test_bundle.py",
    "pretraining/held_out.py": "ray/pretraining/test_pretraining.py",
    "pretraining/layout.py": "unit/pretraining/test_masked_network.py",
    "pretraining/pretrain.py": "ray/pretraining/test_pretraining.py",
    "reports/audit_page.py": "integration/workflows/test_audit.py",
    "runs/estimates.py": "unit/nights/test_estimates.py",
    "runs/unfinished.py": "integration/workflows/test_score.py",
    "settings/annotating.py": "unit/annotating/test_mix.py",
    "settings/auditing.py": "integration/workflows/test_audit.py",
    "settings/ui.py": "integration/workflows/test_ui.py",
    "training/ddp_loop.py": "ray/test_training.py",
    "training/fine_tune.py": "ray/test_training.py",
    "training/lines.py": "ray/test_training.py",
    "ui/advice.py": "unit/ui/test_flips.py",
    "ui/pages.py": "unit/ui/test_server.py",
    "ui/state.py": "unit/ui/test_explain.py",
    "workflows/audit_labels.py": "integration/workflows/test_audit.py",
    "workflows/diff.py": "ray/test_diff.py",
    "workflows/export_annotate.py": "integration/workflows/test_annotate.py",
    "workflows/import_annotate.py": "integration/workflows/test_annotate.py",
    "workflows/promote_trained.py": "integration/workflows/test_promote.py",
    "workflows/register.py": "integration/workflows/test_train.py",
}
"""Modules that are tested in a file of another name."""


def functions() -> Iterator[tuple[str, FUNCTION]]:
    """Yield each function and method of the package with its place."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, FUNCTION):
                yield f"{name}:{node.lineno} {node.name}", node


def parameters(node: FUNCTION) -> list[str]:
    """Return the names of what a caller gives; `self` and `cls` are not among them."""
    given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
    return [argument.arg for argument in given if argument.arg not in ("self", "cls")]


def code_lines(source: str) -> list[str]:
    """Return the lines of a module without blank ones, comments and docstrings."""
    lines = source.splitlines()
    passed_over = set()
    for node in ast.walk(ast.parse(source)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text and isinstance(node.value.value, str):
            passed_over.update(range(node.lineno, node.end_lineno + 1))
    for token in tokenize.generate_tokens(
        iter(source.splitlines(keepends=True)).__next__
    ):
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#"):
            passed_over.add(token.start[0])
    numbered = enumerate(lines, start=1)
    return [
        line for number, line in numbered if line.strip() and number not in passed_over
    ]


def has_test_file(module: str) -> bool:
    """Say whether a test file below the same folder bears the module's name, or one is shared."""
    if module in SHARED:
        return SHARED[module] in TEST_FILES
    folder, _, file_name = module.rpartition("/")
    named = re.compile(
        rf"{folder}/?test_(\w+_)?{file_name.removesuffix('.py')}(_\w+)?\.py"
    )
    return any(named.fullmatch(file.partition("/")[2]) for file in TEST_FILES)


def test_modules_have_a_test_file_that_bears_their_name_or_share_one() -> None:
    assert [module for module in MODULES if not has_test_file(module)] == []


def test_table_of_shared_test_files_names_what_exists() -> None:
    assert set(SHARED.values()) <= set(TEST_FILES)
    assert [place for place in SHARED if not (PACKAGE / place).exists()] == []


def test_functions_have_at_most_50_lines() -> None:
    long = {place: node.end_lineno - node.lineno + 1 for place, node in functions()}
    assert {
        place: lines for place, lines in long.items() if lines > MAX_FUNCTION_LINES
    } == {}


def test_functions_have_at_most_7_parameters() -> None:
    many = {place: len(parameters(node)) for place, node in functions()}
    assert {
        place: number for place, number in many.items() if number > MAX_PARAMETERS
    } == {}


def test_dicts_of_anything_are_fewer_than_40_in_the_package() -> None:
    untyped = re.compile(r"\b(dict|Mapping)\[str, Any\]")
    found = {name: len(untyped.findall(source)) for name, source in SOURCES.items()}
    assert sum(found.values()) < MAX_UNTYPED_RECORDS, {
        name: n for name, n in found.items() if n
    }


def test_no_tuple_is_unpacked_from_a_generator() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple | ast.List)
        and isinstance(node.value, ast.GeneratorExp)
    ]
    assert found == []


def test_median_module_has_fewer_than_120_lines() -> None:
    lines = [source.count("\n") for source in SOURCES.values()]
    assert statistics.median(lines) < MEDIAN_MODULE_LINES


def test_code_lines_have_40_characters_in_the_mean() -> None:
    lengths = [len(line) for source in SOURCES.values() for line in code_lines(source)]
    assert statistics.mean(lengths) <= MAX_MEAN_LINE


def test_code_lines_of_a_source_leave_out_blank_lines_comments_and_docstrings() -> None:
    source = '"""A\nmodule."""\n\n# why\nx = 1  # how\n\ndef f():\n    """Say."""\n    return "#"\n'
    assert code_lines(source) == ["x = 1  # how", "def f():", '    return "#"']
