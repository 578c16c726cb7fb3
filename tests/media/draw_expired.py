"""Makes `expired.jpg` and `expired.pem` beside this page: a picture whose certificate ended seconds after it signed.

Signing is refused once a certificate has ended, and tests do not wait, so the file is kept. Run it to make it again.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image

from malan.media.credentials import Credential, SourceType, new_chain, sign_media

if __name__ == "__main__":
    path = Path(__file__).with_name("expired.jpg")
    Image.linear_gradient("L").resize((96, 64)).save(path)
    chain = new_chain(
        "到期机构", now=datetime.now(UTC) - timedelta(days=365) + timedelta(minutes=5, seconds=4), years=1
    )
    sign_media(path, path, chain, Credential("过期", "到期机构", SourceType.CAPTURED))
    path.with_suffix(".pem").write_text(chain.root_pem)
