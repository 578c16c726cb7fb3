// A storyboard and what can be done to it. Every change gives a new board; nothing here knows of the page.
export interface Shot { clip: string; from_s: number; frames: number; sound: boolean; score: number; why: string[]; text: string; cover_captions: boolean }
export interface Board { title: string; ending: string; language: string; rate: number; formats: string[]; shots: Shot[]; beats_s: number[]; [more: string]: unknown }
export interface Clip { clip: string; asset: string; file: string; start_s: number; end_s: number; aspect: number; refused: string }

export const FEWEST_FRAMES = 4;
export const MOST_FRAMES = 7200;
const round = (seconds: number): number => Math.round(seconds * 1e4) / 1e4;

export const lengthOf = (board: Board): number => board.shots.reduce((sum, shot) => sum + shot.frames, 0) / board.rate;

/** When each shot begins in the film, in seconds. */
export function startsOf(board: Board): number[] {
  let at = 0;
  return board.shots.map((shot) => (at += shot.frames) - shot.frames).map((frames) => frames / board.rate);
}

export function withShot(board: Board, place: number, change: Partial<Shot>): Board {
  return { ...board, shots: board.shots.map((shot, n) => (n === place ? { ...shot, ...change } : shot)) };
}

/** A shot taken from its place and put before what stands at another. */
export function moved(board: Board, from: number, before: number): Board {
  const shots = [...board.shots];
  const [shot] = shots.splice(from, 1);
  shots.splice(before > from ? before - 1 : before, 0, shot!);
  return { ...board, shots };
}

export const without = (board: Board, place: number): Board => ({ ...board, shots: board.shots.filter((_, n) => n !== place) });

/** Begin later (or earlier) by some frames; the end stays. */
export function trimStart(board: Board, place: number, frames: number, clip: Clip): Board {
  const shot = board.shots[place]!;
  const room = Math.floor((shot.from_s - clip.start_s) * board.rate + 1e-6);
  const by = Math.max(-room, Math.min(frames, shot.frames - FEWEST_FRAMES), shot.frames - MOST_FRAMES);
  return withShot(board, place, { from_s: round(shot.from_s + by / board.rate), frames: shot.frames - by });
}

/** End later (or earlier) by some frames. */
export function trimEnd(board: Board, place: number, frames: number, clip: Clip): Board {
  const shot = board.shots[place]!;
  const room = Math.floor((clip.end_s - shot.from_s) * board.rate + 1e-6) - shot.frames;
  const by = Math.min(Math.max(frames, FEWEST_FRAMES - shot.frames), Math.max(0, room), MOST_FRAMES - shot.frames);
  return withShot(board, place, { frames: shot.frames + by });
}

/** Show another stretch of the clip, as long as before. */
export function slipped(board: Board, place: number, frames: number, clip: Clip): Board {
  const shot = board.shots[place]!;
  const last = Math.max(clip.start_s, clip.end_s - shot.frames / board.rate);
  return withShot(board, place, { from_s: round(Math.min(last, Math.max(clip.start_s, shot.from_s + frames / board.rate))) });
}

/** Another clip in the place of a shot: its middle, as long as before where it is long enough. */
export function swapped(board: Board, place: number, clip: Clip): Board {
  const most = Math.floor((clip.end_s - clip.start_s) * board.rate + 1e-6);
  const frames = Math.max(FEWEST_FRAMES, Math.min(board.shots[place]!.frames, most));
  const from_s = round(Math.max(clip.start_s, (clip.start_s + clip.end_s - frames / board.rate) / 2));
  return withShot(board, place, { clip: clip.clip, from_s, frames, why: [], score: 0 });
}
