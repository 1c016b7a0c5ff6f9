"""The champion: which of the bundles in a folder scores the catalogue, and those before it.

BUNDLES/champion.json names it. The URI BUNDLES/champion stands for whichever that is: it is
resolved once by a job, to a version and a fingerprint, which every process of the job then asks
for.
"""

import os
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from rubert_ood import storage
from rubert_ood.bundle import CHAMPION, CHAMPION_FILE, Bundle, load_bundle
from rubert_ood.bundle.files import MANIFEST, read_manifest
from rubert_ood.bundle.signature import check_signature
from rubert_ood.clock import utc_now
from rubert_ood.errors import BundleError
from rubert_ood.pointers.pointer import Kind, PlaceOf, PointerRecord, find
from rubert_ood.pointers.registered import is_registered, resolve_registered
from rubert_ood.pointers.take_back import take_back
from rubert_ood.progress import StepLog
from rubert_ood.runs.plan import BundleName
from rubert_ood.runs.record import Moment, RelativePath
from rubert_ood.storage import hub

log = StepLog("bundle")

FORMAT = 1


class Champion(PointerRecord):
    """What stands in champion.json."""

    format: int = FORMAT
    version: str
    fingerprint: str
    promoted_at: Moment
    promotion: RelativePath | None = None
    """The record of the comparison; None after a rollback."""
    forced: str | None = None
    """Why it was promoted whatever the limits said."""


CHAMPIONS = Kind(
    file=CHAMPION_FILE,
    schema=TypeAdapter(Champion),
    mend="Restore it: without it no bundle is the champion, and none can come back",
    noun="bundle",
    named="promoted",
    publishers="promotions",
)


@dataclass(frozen=True)
class ChampionPlace(PlaceOf[Champion]):
    """The folder of some bundles, and the champion that was read there."""

    kind: Kind[Champion] = CHAMPIONS

    @property
    def champion(self) -> BundleName | None:
        """Where the champion lies, by which version and fingerprint; None before any promotion."""
        named = self.pointer
        if named is None:
            return None
        return BundleName(
            uri=storage.join(self.root_uri, named.path),
            version=named.version,
            fingerprint=named.fingerprint,
            alias=storage.join(self.root_uri, CHAMPION),
        )

    def pointer_to(
        self,
        bundle: BundleName,
        *,
        promotion: str | None = None,
        forced: str | None = None,
    ) -> Champion:
        """Return a pointer to a bundle that is promoted now, without a memory."""
        return Champion(
            path=self.path_of(bundle.uri),
            version=bundle.version,
            fingerprint=bundle.fingerprint,
            promoted_at=utc_now("milliseconds"),
            promotion=promotion,
            forced=forced,
        )


def look(root_uri: str) -> ChampionPlace:
    """Read champion.json; InputError when it is damaged."""
    return ChampionPlace(root_uri, *find(root_uri, CHAMPIONS))


def resolve(uri: str | os.PathLike[str]) -> BundleName:
    """Return the bundle of a URI, which may end in the alias `champion`, or be that of a model
    version in a registry (registered.py).

    For other URIs version and fingerprint are unknown until the bundle is read; one of the hub
    names a commit from here on. Raises BundleError when the folder has no champion, and as
    `resolve_registered` does.
    """
    if is_registered(uri):
        return resolve_registered(uri)
    uri = storage.absolute(uri)
    if hub.is_hub(uri):
        return BundleName(uri=hub.at_commit(uri), fingerprint="")
    root_uri, _, name = uri.rpartition("/")
    if name != CHAMPION:
        return BundleName(uri=uri, fingerprint="")
    champion = look(root_uri).champion
    if champion is None and not storage.exists(storage.join(uri, MANIFEST)):
        raise BundleError(
            f"{uri}: no bundle of this folder was promoted. Run `rubert-ood"
            " promote`, or use the URI of a version"
        )
    return champion or BundleName(uri=uri, fingerprint="")


def open_bundle(
    uri: str | os.PathLike[str], require_signature: str | None = None
) -> Bundle:
    """Load a bundle, or the one that an alias stands for, and say which that is.

    `require_signature` is the path of a public key, by which the bundle must be signed.

    Raises BundleError as `load_bundle` does, and where the champion is not the bundle that was
    promoted; SettingsError and StorageUnavailableError as `resolve` does.
    """
    return open_named(resolve(uri), require_signature)


def open_named(name: BundleName, require_signature: str | None = None) -> Bundle:
    """Load a bundle that was resolved before, as `open_bundle` does."""
    bundle = load_signed(name.uri, require_signature)
    if not name.alias:
        return bundle
    if bundle.fingerprint != name.fingerprint:
        raise BundleError(
            f"{name.uri}: this is not the promoted bundle: its fingerprint"
            f" is {bundle.fingerprint[:12]}, not {name.fingerprint[:12]}"
            f" ({CHAMPION_FILE}). Restore the bundle, or roll back"
        )
    named = f"{name.version} ({name.registered})" if name.registered else name.version
    log.info("%s names %s, fingerprint %s", name.alias, named, name.fingerprint[:12])
    return replace(bundle, alias=name.alias, registered=name.registered)


def load_signed(
    uri: str, key_path: str | None, *, fingerprint: str | None = None
) -> Bundle:
    """Load a bundle, after a look at its signature where a key is given.

    Raises BundleError as `load_bundle` does, and where the bundle lacks that signature.
    """
    if key_path is None:
        return load_bundle(uri, fingerprint=fingerprint)
    signed = check_signature(uri, key_path)
    return load_bundle(uri, fingerprint=fingerprint or signed.fingerprint)


def name_of(bundle: Bundle) -> BundleName:
    """Return what plans and records say of a bundle."""
    return BundleName(
        uri=bundle.uri,
        version=bundle.version,
        fingerprint=bundle.fingerprint,
        alias=bundle.alias,
        registered=bundle.registered,
        promises=list(bundle.fitted.promises),
    )


def roll_back(root_uri: str, reason: str) -> tuple[Champion, str]:
    """Make the bundle the champion again that was it before; return the pointer, and the path that
    is taken back.

    Raises as `take_back` does, and BundleError where the one before is gone or damaged.
    """

    def pointer_to(uri: str) -> Champion:
        found = read_manifest(uri)
        name = BundleName(uri=uri, version=found.version, fingerprint=found.fingerprint)
        return ChampionPlace(root_uri, None, "").pointer_to(name)

    return take_back(lambda: look(root_uri), pointer_to, reason)
