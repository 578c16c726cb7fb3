// <malan-filmstrip aspect="1.778">: frames of one shot side by side in one picture. The pointer scrubs through them;
// `preview()` runs through them once. How many there are follows from the shape of the picture.
import { wantsLessMotion } from "../lib/dom";

const PREVIEW_STEP_MS = 420;

export class Filmstrip extends HTMLElement {
  private timer = 0;
  private cells = 1;
  private strip: HTMLElement | null = null;

  connectedCallback(): void {
    this.strip = this.querySelector(".strip");
    this.addEventListener("pointermove", this.scrub);
    this.addEventListener("pointerleave", this.rest);
    const aspect = Number(this.getAttribute("aspect")) || 16 / 9;
    const [still, ...strips] = this.querySelectorAll("img");
    still?.addEventListener("error", () => (still.remove(), this.strip?.classList.add("single")), { once: true });
    for (const image of strips) fitStrip(image, aspect, (cells) => this.take(cells));
  }

  disconnectedCallback(): void {
    clearInterval(this.timer);
  }

  /** Show each frame in turn, then the first again; a second call stops it. */
  preview(): void {
    if (this.timer) return this.rest();
    if (wantsLessMotion()) return this.show((this.cell + 1) % this.cells);
    let cell = 0;
    this.show(0);
    this.timer = window.setInterval(() => (++cell < this.cells ? this.show(cell) : this.rest()), PREVIEW_STEP_MS);
  }

  private take(cells: number): void {
    this.cells = cells;
    this.style.setProperty("--cells", String(cells));
    this.strip?.classList.toggle("single", cells === 1);
    this.rest();
  }

  private get cell(): number {
    return Number(this.style.getPropertyValue("--cell") || 0);
  }

  private scrub = (event: PointerEvent): void => {
    if (event.pointerType === "touch" || !this.strip || (this.cells === 1 && !this.classList.contains("sound"))) return;
    const box = this.strip.getBoundingClientRect();
    const share = Math.min(0.9999, Math.max(0, (event.clientX - box.left) / box.width));
    clearInterval(this.timer);
    this.timer = 0;
    this.show(Math.floor(share * this.cells), share);
  };

  private show(cell: number, share = (cell + 0.5) / this.cells): void {
    this.style.setProperty("--cell", String(cell));
    this.strip?.classList.add("scrubbing");
    const needle = this.querySelector<HTMLElement>(".needle");
    if (needle) needle.style.left = `${share * 100}%`;
  }

  private rest = (): void => {
    clearInterval(this.timer);
    this.timer = 0;
    this.style.setProperty("--cell", String(Math.floor((this.cells - 1) / 2)));
    this.strip?.classList.remove("scrubbing");
  };
}

/** Show one frame of a strip in the box around it once the picture is there; a broken one goes. */
export function fitStrip(image: HTMLImageElement, aspect: number, tell?: (cells: number) => void): void {
  const fit = (): void => {
    if (!image.naturalWidth) return;
    const cells = Math.max(1, Math.round(image.naturalWidth / image.naturalHeight / aspect));
    const box = image.closest<HTMLElement>(".cell");
    box?.style.setProperty("--cell-aspect", String(image.naturalWidth / cells / image.naturalHeight));
    if (!tell) box?.style.setProperty("--cells", String(cells));
    if (!tell) box?.style.setProperty("--cell", String(Math.floor((cells - 1) / 2)));
    tell?.(cells);
  };
  image.addEventListener("load", fit);
  image.addEventListener("error", () => image.remove(), { once: true });
  if (image.complete) fit();
}

customElements.define("malan-filmstrip", Filmstrip);
