// <malan-wave src from to>: the waveform of a stretch of sound, drawn from peaks: signed bytes, low and high in turn.
import { themeColour } from "../lib/dom";

const known = new Map<string, Promise<Int8Array | null>>();

/** Peaks of an asset, fetched once a page. */
export function peaksOf(url: string): Promise<Int8Array | null> {
  let asked = known.get(url);
  if (!asked) {
    asked = fetch(url).then(async (reply) => (reply.ok ? new Int8Array(await reply.arrayBuffer()) : null), () => null);
    known.set(url, asked);
  }
  return asked;
}

/** Draw the peaks from `from` to `to` (shares of the whole) over a canvas; what is before `played` in full colour. */
export function drawWave(canvas: HTMLCanvasElement, peaks: Int8Array, from: number, to: number, played = 1): void {
  const scale = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d")!;
  pen.scale(scale, scale);
  const count = peaks.length / 2;
  const step = 3;
  for (let x = 0; x < width; x += step) {
    const first = Math.floor((from + (x / width) * (to - from)) * count);
    const last = Math.max(first + 1, Math.ceil((from + ((x + step) / width) * (to - from)) * count));
    let peak = 0;
    for (let n = first; n < last && n < count; n++) peak = Math.max(peak, -peaks[2 * n]!, peaks[2 * n + 1]!);
    const tall = Math.max(2, (peak / 127) * height * 0.82);
    pen.fillStyle = themeColour("loud");
    pen.globalAlpha = x / width <= played ? 0.9 : 0.35;
    pen.fillRect(x, (height - tall) / 2, step - 1, tall);
  }
}

export class Wave extends HTMLElement {
  private seen: IntersectionObserver | null = null;

  connectedCallback(): void {
    this.seen = new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && void this.load(), { rootMargin: "300px" });
    this.seen.observe(this);
  }

  disconnectedCallback(): void {
    this.seen?.disconnect();
  }

  private async load(): Promise<void> {
    this.seen?.disconnect();
    const peaks = await peaksOf(this.getAttribute("src") ?? "");
    if (!peaks?.length) return;
    const canvas = document.createElement("canvas");
    this.replaceChildren(canvas);
    const draw = (): void => drawWave(canvas, peaks, Number(this.getAttribute("from") ?? 0), Number(this.getAttribute("to") ?? 1));
    new ResizeObserver(draw).observe(this);
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", draw);
  }
}

customElements.define("malan-wave", Wave);
