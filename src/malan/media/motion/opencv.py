"""OpenCV, for the modules of this package. Its stubs know neither shapes nor kinds of numbers: it is typed as Any."""

from __future__ import annotations

from typing import Any

import cv2 as _cv2

cv2: Any = _cv2
