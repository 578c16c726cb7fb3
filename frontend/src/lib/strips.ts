// Filmstrips of shots as pictures to draw from; each is fetched once, when it is first needed, and the oldest are let go.
const KEPT = 400;
const AT_ONCE = 3; // the film itself needs lines too

export interface Strip { image: HTMLImageElement; cells: number; cellWidth: number }

export class Strips {
  private readonly known = new Map<string, Strip | null>();
  private readonly waiting: string[] = [];
  private running = 0;

  constructor(private readonly aspect: number, private readonly arrived: () => void) {}

  /** The strip of a clip if it is here; else it is sent for, the last one asked for first. */
  get(clipId: string): Strip | null {
    const strip = this.known.get(clipId);
    if (strip !== undefined) return strip;
    this.known.set(clipId, null);
    this.waiting.push(clipId);
    this.next();
    return null;
  }

  private next(): void {
    if (this.running >= AT_ONCE) return;
    const clipId = this.waiting.pop();
    if (clipId === undefined) return;
    this.running++;
    const image = new Image();
    image.fetchPriority = "low";
    const done = (): void => {
      this.running--;
      this.next();
    };
    image.addEventListener("error", done);
    image.addEventListener("load", () => {
      const cells = Math.max(1, Math.round(image.naturalWidth / image.naturalHeight / this.aspect));
      this.known.set(clipId, { image, cells, cellWidth: image.naturalWidth / cells });
      if (this.known.size > KEPT) this.known.delete(this.known.keys().next().value!);
      done();
      this.arrived();
    });
    image.src = `/strips/${clipId}.jpg`;
  }
}
