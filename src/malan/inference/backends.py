"""What a model is to whoever uses it: one small protocol a kind, the same for a model in this process and one far away.

    chat · embeddings · speech · transcription · image · video · music · encoder · depth

Arrays carry their layout in their names. Everything that may take long is told how far it is and may be stopped. An
implementation is opened by `malan.services.engines.opening`, which asks the licence first, holds the lock of its
device and closes it when nobody has asked for a while. Start reading at `Engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Kind = Literal["chat", "embeddings", "speech", "transcription", "image", "video", "music", "encoder", "depth"]
KINDS: tuple[Kind, ...] = (
    "chat", "embeddings", "speech", "transcription", "image", "video", "music", "encoder", "depth",
)  # fmt: skip

Tell = Callable[[int, int], None]  # steps done, of how many
Stop = Callable[[], None]  # raises where the work shall end


def go_on() -> None:
    """Never asks to stop."""


def say_nothing(done: int, total: int) -> None:
    """Tells nobody."""


@runtime_checkable
class Engine(Protocol):
    """A model that stands ready."""

    @property
    def kind(self) -> Kind:
        """Which of the protocols below it follows."""
        ...

    def close(self) -> None:
        """Give back memory and device. May be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class ChatAsk:
    """A conversation to go on with."""

    messages: tuple[Message, ...]
    most_tokens: int = 1024
    temperature: float = 0.0
    seed: int | None = None
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class ChatPiece:
    """A piece of a reply; the last one says why it ended and what was counted."""

    text: str
    ended: str = ""  # stop, length, …
    input_tokens: int = 0
    output_tokens: int = 0


class Chat(Engine, Protocol):
    """Goes on with a conversation."""

    def chat(self, ask: ChatAsk, *, stop: Stop = go_on) -> Iterator[ChatPiece]:
        """The reply, piece by piece."""
        ...


class Embeddings(Engine, Protocol):
    """Texts as vectors."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, D), each of length 1."""
        ...


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples between −1 and 1 as (samples, channels)."""

    samples_NC: NDArray[np.float32]
    rate_hz: int

    @property
    def seconds(self) -> float:
        return len(self.samples_NC) / self.rate_hz


@dataclass(frozen=True, slots=True)
class SpeechAsk:
    """Words to be spoken."""

    text: str
    voice: str = ""
    language: str = ""
    speed: float = 1.0


class Speaker(Engine, Protocol):
    """Text to speech."""

    @property
    def voices(self) -> tuple[str, ...]:
        """Names that `SpeechAsk.voice` may have; the first is the default."""
        ...

    def speak(self, ask: SpeechAsk, *, stop: Stop = go_on) -> Sound:
        """The words, spoken."""
        ...


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or a character of Chinese, and when it was said, in seconds from the beginning of the sound."""

    text: str
    start_s: float
    end_s: float
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said."""

    text: str
    words: tuple[Word, ...] = ()
    language: str = ""


class Listener(Engine, Protocol):
    """Speech to text."""

    def transcribe(self, samples: NDArray[np.float32], *, language: str = "", stop: Stop = go_on) -> Transcript:
        """What is said in 16 kHz mono samples."""
        ...


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is asked for at once: frames of a film or pictures of a size, or seconds of sound."""

    width: int = 0
    height: int = 0
    frames: int = 1
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.seconds:g} s" if self.seconds else f"{self.width}×{self.height}×{self.frames}"


@dataclass(frozen=True, slots=True)
class ImageAsk:
    """A picture to be made."""

    prompt: str
    width: int
    height: int
    seed: int
    negative: str = ""
    count: int = 1
    steps: int = 0  # 0: as the model is used to
    guidance: float | None = None
    adapters: Mapping[str, float] = field(default_factory=dict)  # names of sub-models → weight

    @property
    def amount(self) -> Amount:
        return Amount(self.width, self.height, self.count)


class Painter(Engine, Protocol):
    """Text to picture."""

    def paint(self, ask: ImageAsk, *, tell: Tell = say_nothing, stop: Stop = go_on) -> NDArray[np.uint8]:
        """(N, height, width, 3)."""
        ...


@dataclass(frozen=True, slots=True)
class VideoAsk:
    """A film to be made; with `image_HWC` it begins with that picture."""

    prompt: str
    width: int
    height: int
    frames: int
    seed: int
    rate: float = 16.0
    negative: str = ""
    steps: int = 0  # 0: as the model is used to
    guidance: float | None = None
    image_HWC: NDArray[np.uint8] | None = None
    adapters: Mapping[str, float] = field(default_factory=dict)  # names of sub-models → weight

    @property
    def amount(self) -> Amount:
        return Amount(self.width, self.height, self.frames)


@dataclass(frozen=True, slots=True)
class Film:
    """Frames as (T, height, width, 3), and how many of them make a second."""

    frames_THWC: NDArray[np.uint8]
    rate: float


class Filmer(Engine, Protocol):
    """Text, or text and picture, to film."""

    def film(self, ask: VideoAsk, *, tell: Tell = say_nothing, stop: Stop = go_on) -> Film:
        """What was asked for; sizes and lengths the model cannot make are rounded to the nearest it can."""
        ...


@dataclass(frozen=True, slots=True)
class MusicAsk:
    """Music to be made."""

    prompt: str
    seconds: float
    seed: int
    lyrics: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def amount(self) -> Amount:
        return Amount(seconds=self.seconds)


class Musician(Engine, Protocol):
    """Text to music."""

    def play(self, ask: MusicAsk, *, tell: Tell = say_nothing, stop: Stop = go_on) -> Sound:
        """What was asked for."""
        ...


class Encoder(Engine, Protocol):
    """Texts and pictures in one space (CLIP and its kind): what belongs together lies close."""

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, D), each of length 1."""
        ...

    def encode_pictures(self, pictures_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, D), each of length 1; pictures of any size."""
        ...


class DepthModel(Engine, Protocol):
    """How near everything in a picture is."""

    def depth(self, picture_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(height, width), 0 the farthest, 1 the nearest."""
        ...
