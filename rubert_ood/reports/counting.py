"""Numbers with their nouns, singular and plural right."""


def counted(number: int, one: str, many: str = "") -> str:
    """Return "1 file" or "2,000 files"; `many` where an s is not enough."""
    noun = one if number == 1 else many or f"{one}s"
    return f"{number:,} {noun}"
