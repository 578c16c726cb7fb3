"""Terms and decisions. Fails closed: what is not understood denies.

Start reading at `decide`.
"""

from malan.rights.decide import USES, decide
from malan.rights.terms import default_terms, load_terms, party_id

__all__ = ["USES", "decide", "default_terms", "load_terms", "party_id"]
