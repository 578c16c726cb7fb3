"""What every backend keeps to, whatever runs behind it: shapes, the same by seed, a stop that is heard, closing twice.

What is not installed here is skipped with its reason; `make test` and `make test-train` cover all of it between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from candidates import CANDIDATES, Candidate

from malan.core.errors import MalanError
from malan.inference.backends import ChatAsk, Engine, ImageAsk, Message, MusicAsk, SpeechAsk, VideoAsk, go_on
from malan.services.engines.opening import BACKENDS

Work = Callable[..., Any]


class Stopped(Exception):
    """Raised by a stop of these tests."""


def halt() -> None:
    raise Stopped


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """An endpoint on this machine, where one can be run."""
    with ExitStack() as stack:
        if any(one.is_remote and one.is_here for one in CANDIDATES):
            from gateway_factory import upstream_server

            yield f"{stack.enter_context(upstream_server())}/v1"
        else:
            yield ""


@pytest.fixture(scope="module", params=CANDIDATES, ids=lambda one: one.name)
def candidate(request: pytest.FixtureRequest) -> Candidate:
    found: Candidate = request.param
    if not found.is_here:
        pytest.skip(f"{', '.join(found.needs)}: not installed here")
    return found


@pytest.fixture(scope="module")
def engine(candidate: Candidate, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = candidate.open(candidate.opening(tmp_path_factory.mktemp("conformance"), url))
    yield made
    made.close()


def picture(height: int = 24, width: int = 40) -> Any:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def sound(seconds: float = 1.0) -> Any:
    return (0.1 * np.sin(np.arange(round(16_000 * seconds)) * 0.3)).astype(np.float32)


def work(candidate: Candidate, engine: Any, *, seed: int = 7, stop: Callable[[], None] = go_on, **more: Any) -> Any:
    """A good ask of the kind; with `more`, the fields of a bad one."""
    width, height = candidate.size
    match candidate.kind:
        case "chat":
            said = {"messages": (Message("user", candidate.text),), "seed": seed} | more
            return list(engine.chat(ChatAsk(**said), stop=stop))
        case "embeddings":
            return engine.embed(more.get("texts", [candidate.text, "云海", candidate.text]))
        case "speech":
            return engine.speak(SpeechAsk(**({"text": candidate.text} | more)), stop=stop)
        case "transcription":
            return engine.transcribe(more.get("samples", sound()), stop=stop)
        case "image":
            said = {"prompt": candidate.text, "width": width, "height": height, "seed": seed, "steps": 2} | more
            return engine.paint(ImageAsk(**said), stop=stop)
        case "video":
            said = {"prompt": candidate.text, "width": width, "height": height, "frames": 9, "seed": seed, "steps": 2}
            return engine.film(VideoAsk(**(said | more)), stop=stop)
        case "music":
            said = {"prompt": candidate.text, "seconds": 1.0, "seed": seed, "extra": {"steps": 2}} | more
            return engine.play(MusicAsk(**said), stop=stop)
        case "encoder":
            texts = engine.encode_texts(more.get("texts", [candidate.text, "blue"]))
            return texts, engine.encode_pictures(more.get("pictures", np.stack([picture(), picture()])))
        case "depth":
            return engine.depth(more.get("picture", picture()))


def numbers(made: Any) -> bytes:
    """What came out, as bytes that can be compared."""
    if isinstance(made, list):
        return repr(made).encode()
    if isinstance(made, tuple):
        return b"".join(one.tobytes() for one in made)
    for name in ("frames_THWC", "samples_NC"):
        if hasattr(made, name):
            return bytes(getattr(made, name).tobytes())
    return made.tobytes() if hasattr(made, "tobytes") else repr(made).encode()


def test_every_backend_and_kind_is_in_this_suite() -> None:
    wanted = {(name, kind) for name, backend in BACKENDS.items() for kind in backend.kinds}
    assert wanted <= {(one.backend, one.kind) for one in CANDIDATES}


def test_it_says_of_which_kind_it_is(candidate: Candidate, engine: Engine) -> None:
    assert isinstance(engine, Engine)
    assert engine.kind == candidate.kind


def test_it_makes_what_its_kind_makes(candidate: Candidate, engine: Any) -> None:
    made = work(candidate, engine)
    width, height = candidate.size
    match candidate.kind:
        case "chat":
            assert "".join(piece.text for piece in made)
            assert [bool(piece.ended) for piece in made] == [False] * (len(made) - 1) + [True]
        case "embeddings":
            assert made.dtype == np.float32
            assert len(made) == 3
            assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
            assert np.array_equal(made[0], made[2])
            assert len(engine.embed([])) == 0
        case "speech" | "music":
            assert made.samples_NC.ndim == 2
            assert made.samples_NC.dtype == np.float32
            assert 0 < np.abs(made.samples_NC).max() <= 1
            assert made.rate_hz > 0
        case "transcription":
            times = [(word.start_s, word.end_s) for word in made.words]
            assert times == sorted(times)
            assert all(0 <= start <= end <= 1.5 for start, end in times)
        case "image":
            assert (made.dtype, made.shape) == (np.uint8, (1, height, width, 3))
        case "video":
            assert (made.frames_THWC.dtype, made.frames_THWC.shape) == (np.uint8, (9, height, width, 3))
            assert made.rate > 0
        case "encoder":
            for vectors in made:
                assert (vectors.dtype, vectors.shape) == (np.float32, (2, engine.width))
                assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        case "depth":
            assert (made.dtype, made.shape) == (np.float32, (24, 40))
            assert 0 <= made.min() <= made.max() <= 1


def test_the_same_ask_gives_the_same(candidate: Candidate, engine: Engine) -> None:
    assert numbers(work(candidate, engine)) == numbers(work(candidate, engine))


def test_another_seed_gives_another(candidate: Candidate, engine: Engine) -> None:
    if candidate.kind not in ("image", "video", "music") or candidate.is_remote:
        pytest.skip("nothing is drawn by lot, or elsewhere")
    assert numbers(work(candidate, engine, seed=1)) != numbers(work(candidate, engine, seed=2))


def test_a_stop_is_heard_and_the_next_ask_is_answered(candidate: Candidate, engine: Engine) -> None:
    if candidate.kind in ("embeddings", "encoder", "depth"):
        pytest.skip("too short to be stopped")
    before = numbers(work(candidate, engine))
    with pytest.raises(Stopped):
        work(candidate, engine, stop=halt)
    assert numbers(work(candidate, engine)) == before


BAD: dict[str, list[dict[str, Any]]] = {
    "speech": [{"text": ""}, {"text": "a" * 10**6}, {"voice": "nobody"}, {"speed": 99.0}, {"speed": float("nan")}],
    "transcription": [{"samples": np.zeros((4, 4), np.float32)}, {"samples": np.full(99, np.nan, np.float32)}],
    "image": [{"prompt": ""}, {"width": 0}, {"height": 10**8}, {"seed": -1}, {"count": 0}, {"guidance": float("inf")}],
    "video": [{"prompt": " "}, {"width": -1}, {"frames": 0}, {"frames": 10**11}, {"seed": -1}, {"steps": -1}],
    "music": [{"prompt": ""}, {"seconds": 0.0}, {"seconds": 36_000.0}, {"seed": -1}, {"extra": {"x": 1}}],
    "encoder": [{"pictures": np.zeros((2, 4, 4), np.uint8)}],
    "depth": [{"picture": np.zeros((4, 4), np.uint8)}, {"picture": np.zeros((0, 4, 3), np.uint8)}],
}


def test_bad_asks_are_typed_errors(candidate: Candidate, engine: Engine) -> None:
    if candidate.is_remote:
        pytest.skip("an endpoint judges its asks itself; what it says is tried in test_openai_endpoint")
    for bad in BAD.get(candidate.kind, []):
        with pytest.raises(MalanError):
            work(candidate, engine, **bad)


def test_an_opening_can_be_stopped(candidate: Candidate, url: str, tmp_path: Path) -> None:
    from dataclasses import replace

    opening = candidate.opening(tmp_path, url)
    try:
        made = candidate.open(replace(opening, stop=halt))
    except Stopped:
        return
    made.close()  # it was open before it could be asked
    assert candidate.is_remote or candidate.backend == "onnx"


def test_it_is_closed_twice(candidate: Candidate, url: str, tmp_path: Path) -> None:
    made = candidate.open(candidate.opening(tmp_path, url))
    made.close()
    made.close()


def test_files_that_are_missing_are_a_typed_error(candidate: Candidate, url: str, tmp_path: Path) -> None:
    from dataclasses import replace

    if candidate.is_remote:
        pytest.skip("it has no files here")
    opening = candidate.opening(tmp_path, url)
    with pytest.raises(MalanError):
        candidate.open(replace(opening, files={}, folder=tmp_path / "nowhere"))
