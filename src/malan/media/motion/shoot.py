"""A scene shot from its first frame to its last. Start at `shoot`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

from malan.media.motion.air import Air
from malan.media.motion.film import write_film
from malan.media.motion.framing import Wish
from malan.media.motion.planes import Frame
from malan.media.motion.scene import Scene

Tell = Callable[[int, int], None]  # frames done, of how many; what it raises ends the work

AIR: dict[str, Literal["light", "mist"]] = {"drift-light": "light", "drift-mist": "mist"}


def shoot(scene: Scene, wish: Wish, out: Path, rate: Fraction, *, tell: Tell | None = None) -> None:
    """Write a scene as an mp4 of exactly its frames.

    Raises:
        StoreError: It could not be written; nothing is left of it.
    """
    write_film(frames_of(scene, wish, tell=tell), out, wish.size, rate)


def frames_of(scene: Scene, wish: Wish, *, tell: Tell | None = None) -> Iterator[Frame]:
    """The frames of a film, one after the other."""
    air = air_of(wish, scene)
    for number in range(len(scene.path)):
        if tell:
            tell(number, len(scene.path))
        yield frame_of(scene, number, air)


def air_of(wish: Wish, scene: Scene) -> Air | None:
    """What drifts over a move; nothing over most."""
    if wish.move not in AIR:
        return None
    kind, tone = AIR[wish.move], scene.stage.tone()
    return Air(
        kind,
        wish.size,
        wish.frames,
        wish.seconds,
        loop=wish.loop,
        seed=wish.seed,
        tone=tone,
        parting=scene.stage.parting(),
    )


def frame_of(scene: Scene, number: int, air: Air | None) -> Frame:
    """One frame; a loop goes on after its last with its first."""
    pose = scene.path[number % len(scene.path)]
    if air is None:
        return scene.stage.draw(pose)
    return scene.stage.draw(pose, air.laid(number, scene.layers))
