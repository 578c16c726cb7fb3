"""Review (审核): episodes in, a signed report out, every finding with its picture, words, rule and clause.

    files ─ measure ─▶ facts ─ rules of a pack, as of a day ─▶ findings ─▶ report ─ people ─▶ decisions, labels

Start at `app.Review.run`; rules are data in `rules/`, cited texts in `texts/`, word lists in `lexicons/`.
"""

from malan.apps.review.app import APP

__all__ = ["APP"]
