// Frame numbers and the times they are shown at, as the packet index knows them; never computed from a nominal rate.

export class FrameTimes {
  /** Start of each frame in seconds, rising; one more entry than frames: the end of the last. */
  constructor(private readonly starts: Float64Array) {}

  static async load(url: string): Promise<FrameTimes> {
    const reply = await fetch(url);
    if (!reply.ok) throw new Error(`${reply.status}`);
    return new FrameTimes(new Float64Array(await reply.arrayBuffer()));
  }

  get count(): number {
    return Math.max(0, this.starts.length - 1);
  }

  start(frame: number): number {
    return this.starts[this.clamp(frame)] ?? 0;
  }

  /** A time well inside a frame: seeking there shows exactly this frame, whatever way the browser rounds. */
  middle(frame: number): number {
    const n = this.clamp(frame);
    return ((this.starts[n] ?? 0) + (this.starts[n + 1] ?? this.starts[n] ?? 0)) / 2;
  }

  /** Number of the frame shown at a time; the first and the last stand for everything beyond them. */
  at(seconds: number): number {
    let [low, high] = [0, this.count - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.starts[middle] ?? 0) <= seconds) low = middle;
      else high = middle - 1;
    }
    return Math.max(0, low);
  }

  /** The frame whose start lies nearest to a time: what a presented time stamp means after rounding. */
  nearest(seconds: number): number {
    const n = this.at(seconds);
    const [here, next] = [this.start(n), this.start(n + 1)];
    return n + 1 < this.count && next - seconds < seconds - here ? n + 1 : n;
  }

  private clamp(frame: number): number {
    return Math.max(0, Math.min(this.count - 1, Math.round(frame)));
  }
}
