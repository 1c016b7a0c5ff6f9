"""The register of exports on S3: of several at once each gets a number of its own."""

from concurrent.futures import ThreadPoolExecutor

from rubert_ood.annotating.register import Keys, Register

MOMENT = "2026-11-24T10:00:00+00:00"
NUM_EXPORTS = 6


def _take(output_uri: str, name: str) -> list[int]:
    """Take the ten smallest ads that nobody has, as an export does."""
    register = Register(output_uri).read()
    while True:
        free = [number for number in range(1, 100) if number not in register.ads][:10]
        keys = [Keys(ad=f"{n:016x}", text=f"t{n}", plain=f"p{n}") for n in free]
        if register.take(name, "run", MOMENT, keys):
            return free
        register.read()


def test_exports_at_once_on_s3_take_different_ads(s3):
    uri = f"{s3}/annotation"
    names = [f"export-{number}" for number in range(NUM_EXPORTS)]
    with ThreadPoolExecutor(NUM_EXPORTS) as pool:
        taken = list(pool.map(lambda name: _take(uri, name), names))
    numbers = [number for export in taken for number in export]
    assert sorted(numbers) == list(range(1, 10 * NUM_EXPORTS + 1))
    register = Register(uri).read()
    assert (register.num_read, len(register.ads)) == (NUM_EXPORTS, 10 * NUM_EXPORTS)
