"""A timeline as one ffmpeg filter graph: each piece is decoded once, whatever number of formats is wanted.

    input ─ fps, trim ─ upright ─ cover ─ split ─┬─ crop, scale ─▶ concat ─ libass ─▶ 16x9
                                                 └─ crop, scale ─▶ concat ─ libass ─▶ 9x16

Start reading at `picture_graph`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from malan.media.render.timeline import Cover, Format, Key, Piece, Timeline, View

_MARGIN_S = 1  # read beyond the end of a piece, for rates that do not divide
_TAGS = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
_KNEE, _BRIGHTEST, _WHITE = (
    0.5,
    4.93,
    203,
)  # white of HDR is 203 nits (ITU-R BT.2408); the rest up to 1000 is rolled off
_LEAST_COVER, _OFF_EDGE = 8, 2  # pixels
_GROUND = 8  # a ground is blurred at an eighth of its size: what is left of it is no finer
_ZSCALE_MATRICES = {"bt709": "bt709", "bt601": "smpte170m", "bt2020": "bt2020nc"}
_LATER_US = 500  # libass counts whole milliseconds, cut off: a moment must not fall short of itself
_EARLIER_S = Fraction(1, 1000)  # the first frame must not be lost to rounding


def input_options(piece: Piece, rate: Fraction) -> list[str]:
    """Options before `-i` that make ffmpeg read a piece and little else; frames before its start are thrown away."""
    length = piece.frames / rate + _MARGIN_S
    return ["-ss", seconds(max(Fraction(0), piece.start - _EARLIER_S)), "-t", seconds(length)]


def picture_graph(timeline: Timeline, numbers: Sequence[int], scripts: dict[str, str]) -> str:
    """The graph for some pieces of a timeline, one output `[v<format>]` each format.

    What is written is drawn by the clock of the whole film, so that a part rendered alone looks as it did within.

    Args:
        numbers: Which pieces, in order; those with a file are the inputs of ffmpeg, in this order.
        scripts: By format, the file of what is written, relative to where ffmpeg runs.
    """
    parts, inputs = [], 0
    for place, number in enumerate(numbers):
        piece = timeline.pieces[number]
        parts.append(_piece(timeline, piece, place, inputs))
        inputs += bool(piece.path)
    clock, rate = film_clock(timeline, numbers), f"({timeline.rate.numerator}/{timeline.rate.denominator})"
    for form in timeline.formats:
        joined = "".join(f"[{label(place, form)}]" for place in range(len(numbers)))
        written = ""
        if form.name in scripts:
            fonts = f":fontsdir={timeline.fonts}" if timeline.fonts else ""
            shifted = f"settb=AVTB,setpts='round(({clock})/{rate}/TB)+{_LATER_US}'"
            written = f",{shifted},ass={scripts[form.name]}{fonts},setpts='round(N/{rate}/TB)'"
        parts.append(f"{joined}concat=n={len(numbers)}:v=1:a=0{written},format=yuv420p,{_TAGS}[v{form.name}]")
    return ";".join(parts)


def film_clock(timeline: Timeline, numbers: Sequence[int]) -> str:
    """The frame of the film that frame N of these pieces is, as an expression."""
    steps, at, known = [], 0, None
    for number in numbers:
        ahead = timeline.starts[number] - at
        if ahead != known:
            steps.append((at, ahead))
            known = ahead
        at += timeline.pieces[number].frames
    return "+".join(["N", *_jumps(steps)])


def _jumps(steps: list[tuple[int, int]]) -> list[str]:
    """How far the film is ahead, as a sum of jumps at frames."""
    before, jumps = 0, []
    for at, ahead in steps:
        if ahead != before:
            jumps.append(f"{ahead - before}*gte(N,{at})")
        before = ahead
    return jumps


def label(place: int, form: Format) -> str:
    return f"p{place}f{form.name}"


def _piece(timeline: Timeline, piece: Piece, place: int, number: int) -> str:
    """One piece in all formats."""
    if not piece.path:
        return ";".join(_ground(timeline, piece, place, form) for form in timeline.formats)
    chain = [f"[{number}:{piece.track}]{_steady(timeline, piece)}"]
    branches = [f"[{label(place, form)}u]" for form in timeline.formats]
    split = f"split={len(branches)}" if len(branches) > 1 else "null"
    covered = _covers(piece, place)
    chain = [f"{chain[0]}[s{place}]", *covered, f"[{'c' if covered else 's'}{place}]{split}{''.join(branches)}"]
    tone = _tone(piece) if _is_toned_late(timeline, piece) else ""
    shown = (framed(piece, form, f"{label(place, form)}u", label(place, form), tone) for form in timeline.formats)
    return ";".join([*chain, *shown])


def _steady(timeline: Timeline, piece: Piece) -> str:
    """Exactly so many frames at the film's rate; a source that ends early stands still."""
    whole = "bwdif=mode=send_frame:deint=interlaced," if piece.is_interlaced else ""
    late = _is_toned_late(timeline, piece)
    tone = _tone(piece) if piece.is_hdr and not late else ""
    coded = f":in_color_matrix={piece.matrix}:out_color_matrix=bt709" if _is_coded_anew(piece) else ""
    rate, count, depth = timeline.rate, piece.frames, "yuv420p10le" if late else "yuv420p"
    return (
        f"{whole}fps={rate.numerator}/{rate.denominator}:start_time=0,tpad=stop=-1:stop_mode=clone,"
        f"trim=end_frame={count},setpts='round(N/({rate.numerator}/{rate.denominator})/TB)',{tone}"
        f"scale=w='trunc(iw*max(sar,1)/2)*2':h='trunc(ih/min(sar,1)/2)*2':flags=bicubic{coded},setsar=1,format={depth}"
    )


def _is_coded_anew(piece: Piece) -> bool:
    return piece.matrix != "bt709" and not piece.is_hdr


def _is_toned_late(timeline: Timeline, piece: Piece) -> bool:
    """Whether a bright picture is brought into range when it is framed: where that is less than all of it."""
    shown = sum(form.width * form.height for form in timeline.formats)
    return piece.is_hdr and not piece.covers and shown < piece.size[0] * piece.size[1]


def _tone(piece: Piece) -> str:
    """Brings HDR into the range of BT.709: all up to half of white stays as it is, what is brighter gives way."""
    coded = f"min={_ZSCALE_MATRICES.get(piece.matrix, 'bt2020nc')}:pin={piece.primaries or 'bt2020'}"
    return (
        f"zscale={coded}:p=bt709:t=linear:npl={_WHITE},format=gbrpf32le,"
        f"tonemap=mobius:param={_KNEE}:peak={_BRIGHTEST}:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv420p,"
    )


def _covers(piece: Piece, place: int) -> list[str]:
    """Old captions are filled from what is around them while they stand there; what runs through them is softened."""
    parts, at, boxes = [], f"s{place}", [(one, box) for one in piece.covers if (box := _box(one, piece.size))]
    for number, (cover, (x, y, wide, high)) in enumerate(boxes):
        out = f"c{place}" if number == len(boxes) - 1 else f"c{place}x{number}"
        when = f"enable='between(t,{cover.begin_s:.3f},{cover.end_s:.3f})'"
        parts.append(f"[{at}]delogo=x={x}:y={y}:w={wide}:h={high}:{when},split[{out}a][{out}b]")
        soft = f"gblur=sigma={max(2, high // 8)}:sigmaV={max(1, high // 16)}"
        parts.append(f"[{out}b]crop={wide}:{high}:{x}:{y},{soft}[{out}g]")
        parts.append(f"[{out}a][{out}g]overlay={x}:{y}:{when}[{out}]")
        at = out
    return parts


def _box(cover: Cover, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """A place in even pixels, a little off the edges of the picture, from which it is filled; None: too small."""
    (x, wide), (y, high) = (
        _side(begin, length, whole)
        for begin, length, whole in ((cover.x, cover.width, size[0]), (cover.y, cover.height, size[1]))
    )
    return (x, y, wide, high) if min(wide, high) >= _LEAST_COVER else None


def _side(begin: float, length: float, whole: int) -> tuple[int, int]:
    first = 2 * round(max(_OFF_EDGE, begin * whole) / 2)
    last = 2 * round(min(whole - _OFF_EDGE, (begin + length) * whole) / 2)
    return first, last - first


def framed(piece: Piece, form: Format, name: str, out: str, tone: str = "") -> str:
    """A piece in the shape of a format: from the pad `name` to the pad `out`; `tone` is done once it is small."""
    view = piece.views.get(form.name, View())
    start, end = f"[{name}]", f"[{out}]"
    size = f"{form.width}:{form.height}"
    if view.is_whole:
        small = f"{_even(form.width / _GROUND)}:{_even(form.height / _GROUND)}"
        back = (
            f"scale={small}:force_original_aspect_ratio=increase:flags=area,crop={small},{tone}"
            f"gblur=sigma={24 / _GROUND:g},eq=brightness=-0.12,scale={size}:flags=bilinear"
        )
        front = f"scale={size}:force_original_aspect_ratio=decrease:force_divisible_by=2:flags=bicubic,{tone}null"
        return (
            f"{start}{_part(piece.size, view)}split[{name}a][{name}b];"
            f"[{name}a]{back}[{name}g];[{name}b]{front}[{name}s];"
            f"[{name}g][{name}s]overlay=(W-w)/2:(H-h)/2,setsar=1{end}"
        )
    width, height = window(piece.size, form, view.zoom)
    x, y = (
        _along(view.keys, axis, side, whole)
        for axis, side, whole in zip("xy", (width, height), piece.size, strict=True)
    )
    same = (width, height) == tuple(piece.size)
    crop = "" if same else f"crop={width}:{height}:x='{x}':y='{y}',"
    scale = "" if (width, height) == (form.width, form.height) else f"scale={size}:flags=bicubic,"
    return f"{start}{crop}{scale}{tone}setsar=1,format=yuv420p{end}"


def _part(size: tuple[int, int], view: View) -> str:
    """What is shown whole: the picture without its bars."""
    if view.part == (0.0, 0.0, 1.0, 1.0):
        return ""
    x, y, wide, high = (2 * round(share * side / 2) for share, side in zip(view.part, (*size, *size), strict=True))
    return f"crop={max(16, wide)}:{max(16, high)}:{x}:{y},"


def _even(side: float) -> int:
    return max(16, 2 * round(side / 2))


def window(size: tuple[int, int], form: Format, zoom: float) -> tuple[int, int]:
    """The largest window of a format's shape in a picture, in even pixels."""
    width, height = (2 * (side // 2) for side in size)
    aspect = float(form.aspect)
    wide = min(float(width), height * aspect) / max(zoom, 1.0)
    return max(16, 2 * int(wide / 2)), max(16, 2 * int(wide / aspect / 2))


def _along(keys: Sequence[Key], axis: str, side: int, whole: int) -> str:
    """Left or upper edge of the window as an expression of time: straight between keys."""
    most = max(0, whole - side)
    points = []
    for key in keys:
        edge = (key.x if axis == "x" else key.y) * whole - side / 2
        points.append((key.at_s, min(max(edge, 0.0), float(most))))
    if len(points) == 1 or max(at for _, at in points) - min(at for _, at in points) < 1:
        return str(round(points[0][1]))
    text, before = f"{points[0][1]:.3f}", 0.0
    for (t0, a), (t1, b) in pairwise(points):  # a sum of bends: nothing is nested, however many there are
        slope = (b - a) / max(t1 - t0, 1e-3)
        if abs(slope - before) > 1e-4:
            text += f"{slope - before:+.4f}*max(t-{t0:.3f},0)"
        before = slope
    return f"clip({text}{-before:+.4f}*max(t-{points[-1][0]:.3f},0),0,{most})"


def _ground(timeline: Timeline, piece: Piece, place: int, form: Format) -> str:
    rate, size = timeline.rate, f"{form.width}x{form.height}"
    length = seconds(piece.frames / rate)
    return (
        f"color=c={piece.colour}:s={size}:r={rate.numerator}/{rate.denominator}:d={length},"
        f"trim=end_frame={piece.frames},setpts='round(N/({rate.numerator}/{rate.denominator})/TB)',"
        f"setsar=1,format=yuv420p[{label(place, form)}]"
    )


def seconds(value: Fraction) -> str:
    """For ffmpeg, to the microsecond."""
    return f"{float(value):.6f}"
