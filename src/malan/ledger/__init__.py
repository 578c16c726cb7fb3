"""The ledger: a transparency log of signed events that any verifier of such logs can check. Files only, no server.

Nothing is imported here, so that `python -m malan.ledger.verify` needs Python and `cryptography` alone. Where to look:

    log        LogWriter: append, publish                    reader     LogReader: entries and proofs
    index      LogIndex: find entries by key                 audit      audit: the whole log against its checkpoint
    receipt    receipt_for, check_receipt                    verify     the command a stranger runs
    note       NoteSigner, NoteVerifier, open_note           checkpoint Checkpoint
    envelope   signed events                                 statement  what an event says
    witness    cosigning the logs of partners                policy     whom to believe

Below these: `tiles` and `folder` (C2SP tlog-tiles), `journal` (durable, not yet published), `state`, `edge`, `proofs`.
"""
