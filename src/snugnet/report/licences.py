"""Identifiers of licences as the Hugging Face Hub reads them, and the terms of the data sets that are known by name."""

from __future__ import annotations

from dataclasses import dataclass

from snugnet.errors import UsageError
from snugnet.problems import nearest

OWN = "apache-2.0"  # of our code, and of weights unless their owner says otherwise
CREATIVE_COMMONS = (
    "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0",
    "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
)  # fmt: skip
LICENCES = (
    OWN, "mit", *CREATIVE_COMMONS, "afl-3.0", "agpl-3.0", "artistic-2.0", "bigscience-openrail-m", "bsd",
    "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cdla-permissive-1.0",
    "cdla-permissive-2.0", "cdla-sharing-1.0", "creativeml-openrail-m", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0",
    "eupl-1.1", "eupl-1.2", "gpl", "gpl-2.0", "gpl-3.0", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0", "mpl-2.0", "ms-pl",
    "ncsa", "odbl", "odc-by", "openrail", "openrail++", "osl-3.0", "pddl", "postgresql", "unlicense", "wtfpl", "zlib",
    "unknown", "other",
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """What a card says of a data set. `hub` is its identifier on the Hub, None where it has none."""

    title: str
    hub: str | None
    about: str
    terms: str
    limit: str | None = None


_TINY = "drawn from 80 Million Tiny Images, a collection from the web that its authors withdrew in 2020"
_NO_LICENCE = (
    "Its authors publish no explicit licence, and the rights in the images, collected from the web, are not known; "
    "whether and how nets that learned from them may be used is for you to judge."
)
_DUPLICATES = (
    "{share} of its test images have a near duplicate among the training images (Barz and Denzler, 2020), so accuracy "
    "on images that are truly new is lower."
)
KNOWN = {
    "cifar10": Data(
        "CIFAR-10", "uoft-cs/cifar10", f"60,000 colour photographs of 32 × 32 pixels (Krizhevsky, 2009), {_TINY}",
        _NO_LICENCE, _DUPLICATES.format(share="3.3 %"),
    ),
    "cifar100": Data(
        "CIFAR-100", "uoft-cs/cifar100", f"60,000 colour photographs of 32 × 32 pixels (Krizhevsky, 2009), {_TINY}",
        _NO_LICENCE, _DUPLICATES.format(share="10 %"),
    ),
    "digits": Data(
        "digits", None,
        "1,797 handwritten digits of 8 × 8 pixels, grey, as they come with scikit-learn: the test part of "
        "UCI's Optical Recognition of Handwritten Digits",
        "UCI gives them under CC BY 4.0.", "It is a small and easy set: hardly any method does badly on it.",
    ),
}  # fmt: skip


def data_of(name: str) -> Data:
    """Of a known data set, else of images of the user's own, of which only the name of their folder is told."""
    own = name.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    terms = "Nothing of it is known to this card: its owner should say here what it is and under which terms it stands."
    return KNOWN.get(name, Data(own, None, "the trainer's own images", terms))


def check_licence(name: str) -> str:
    """Raises UsageError for an identifier that the Hub does not know."""
    if name not in LICENCES:
        some = "such as apache-2.0, mit, cc-by-4.0, or other"
        raise UsageError(
            f"--license {name}: must be an identifier of the Hugging Face Hub, {some}{nearest(name, LICENCES)}"
        )
    return name
