"""Terms ready to use: what owners most often mean, as the TOML they would have written. Start at `READY`.

A person takes one, changes what differs, and keeps the file. Prices are never filled in: nobody should sell by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadyTerms:
    """A set of terms by name; its title and description are in the catalogue under `terms.ready.<name>`."""

    name: str
    body: str


_EVALUATE = """\
uses = ["retrieve", "train"]
purposes = ["evaluation"]        # only to find out whether it would help
egress = ["metrics"]             # no weights leave
tiers = ["recipe"]
isolation = "sandbox"
prohibitions = ["likeness", "redistribution", "scene"]

[limits]
runs = 3
clip_seconds = 36000
"""

_TRAIN = """\
uses = ["retrieve", "train"]     # add "generative_train" for models that generate
egress = ["metrics", "adapter"]
tiers = ["recipe", "recipe-dp"]
isolation = "sandbox"
memorisation = "checked"         # a model that learned by heart waits for you; "strict": it is refused
prohibitions = ["likeness", "redistribution", "scene"]

[limits]
runs = 20
clip_seconds = 1800000
output_bytes = 50000000

[price]
minor = 0                        # in the smallest unit: 250 is 2.50 yuan
currency = "CNY"
per = "clip_second"
"""

_PROMO = """\
uses = ["retrieve", "derive", "export", "publish"]
prohibitions = ["likeness", "redistribution"]

[price]
minor = 0
currency = "CNY"
per = "output"
"""

_ARCHIVE = """\
uses = ["retrieve"]              # find and look; nothing leaves
"""

_PUBLIC = """\
uses = ["retrieve", "derive", "export", "publish", "train", "generative_train"]
tiers = ["recipe", "recipe-dp", "code"]
egress = ["metrics", "adapter", "weights", "samples"]
isolation = "process"
licence = "CC-PDDC"
"""

_CC_BY = """\
uses = ["retrieve", "derive", "export", "publish", "train", "generative_train"]
tiers = ["recipe", "recipe-dp", "code"]
egress = ["metrics", "adapter", "weights", "samples"]
isolation = "process"
licence = "CC-BY-4.0"
attribution = "{owner}"
"""

READY: Mapping[str, ReadyTerms] = {
    terms.name: terms
    for terms in (
        ReadyTerms("evaluate", _EVALUATE),
        ReadyTerms("train", _TRAIN),
        ReadyTerms("promo", _PROMO),
        ReadyTerms("archive", _ARCHIVE),
        ReadyTerms("public-domain", _PUBLIC),
        ReadyTerms("cc-by", _CC_BY),
    )
}
