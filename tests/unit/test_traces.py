from ray.exceptions import RayTaskError

from rubert_ood.errors import InputError
from rubert_ood.traces import MAX_LINES, last_lines, said

AD = "Продам диван, звоните 8 912 345-67-89"


def _raised(function) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_said_of_an_error_of_ours_is_its_message_as_it_is() -> None:
    assert said(InputError("a.parquet: 12 rows")) == "InputError: a.parquet: 12 rows"


def test_said_of_another_error_is_short_and_has_no_digits() -> None:
    text = said(ValueError("8 912 345-67-89\n" + "x" * 1_000))
    assert text == "ValueError: # ### ###-##-## " + "x" * 184
    assert said(ValueError()) == "ValueError"


def test_last_lines_have_frames_of_each_cause_without_code_or_data() -> None:
    def inner(text: str) -> int:
        return int(text)

    def outer() -> None:
        try:
            inner(AD)
        except ValueError as error:
            raise InputError("a.parquet: damaged") from error

    lines = last_lines(_raised(outer))
    functions = [line.rpartition(" in ")[2] for line in lines]
    assert functions[:2] == ["outer", "inner"]
    assert lines[2].startswith("ValueError: invalid literal")
    assert functions[3:] == ["_raised", "outer", "InputError: a.parquet: damaged"]
    assert not any(char.isdigit() for char in lines[2].replace("base ##", ""))
    assert all("return int" not in line for line in lines)
    number = outer.__code__.co_firstlineno + 4
    assert lines[4] == f"{__file__}:{number} in outer"


def test_last_lines_of_a_deep_trace_are_its_end() -> None:
    def deeper(depth: int) -> None:
        if depth == 0:
            raise KeyError("x")
        deeper(depth - 1)

    lines = last_lines(_raised(lambda: deeper(100)))
    assert len(lines) == MAX_LINES
    assert lines[-1] == "KeyError: 'x'"
    assert all(line.endswith(" in deeper") for line in lines[:-1])


def test_last_lines_of_a_task_of_ray_are_those_of_the_remote_trace() -> None:
    remote = (
        "Traceback (most recent call last):\n"
        '  File "/usr/lib/python3/site-packages/pyarrow/table.py", line 7, in cast\n'
        f"    cell = {AD!r}\n"
        f"pyarrow.lib.ArrowInvalid: {AD}"
    )
    error = RayTaskError("write_batch", remote, ValueError("cell 12"))
    lines = last_lines(error)
    assert lines == ["pyarrow/table.py:7 in cast", "ValueError: cell ##"]
