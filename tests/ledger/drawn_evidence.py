"""An evidence service for tests: signs receipts, and lets a test change them after."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loopback import Answer, Asked

from malan.ledger.anchors.evidence import Authentication, receipt_message


@dataclass
class DrawnService:
    authentication: Authentication
    time: str
    change: Callable[[dict[str, Any]], object] = lambda _: None
    count: int = 0

    def receipt(self, digest: str, name: str) -> dict[str, Any]:
        self.count += 1
        number = f"E-{self.count:06}"
        signature = self.authentication.sign(receipt_message(digest, name, number, self.time))
        return {"receipt": number, "time": self.time, "signature": base64.b64encode(signature).decode()}

    def serve(self, asked: Asked) -> Answer:
        body = json.loads(asked.body)
        receipt = self.receipt(body["hash"], body["name"])
        self.change(receipt)
        return Answer(200, json.dumps(receipt).encode(), "application/json")
