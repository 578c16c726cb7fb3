// Long lists: rows are made as they come into view, so ten thousand captions open as fast as ten.
import { h } from "./dom";

const BATCH = 120;

export class LazyRows<T> {
  readonly box = h("div", { class: "rows" });
  private readonly end = h("div");
  private made: HTMLElement[] = [];
  private current = -1;

  constructor(private readonly rows: readonly T[], private readonly make: (row: T, index: number) => HTMLElement) {
    this.box.append(this.end);
    new IntersectionObserver((seen) => seen.some((s) => s.isIntersecting) && this.grow(this.made.length + BATCH), { rootMargin: "600px" }).observe(this.end);
    this.grow(BATCH);
  }

  /** Mark a row as the current one and keep it in view unless the reader is busy in the list. */
  highlight(index: number): void {
    if (index === this.current) return;
    this.made[this.current]?.removeAttribute("aria-current");
    this.current = index;
    if (index < 0) return;
    this.grow(index + 1);
    const row = this.made[index];
    row?.setAttribute("aria-current", "true");
    if (row && this.box.offsetParent && !this.box.matches(":hover")) reveal(row);
  }

  private grow(size: number): void {
    const fresh = this.rows.slice(this.made.length, size).map((row, n) => this.make(row, this.made.length + n));
    this.made.push(...fresh);
    this.end.before(...fresh);
  }
}

/** Scroll the panel, never the page. */
function reveal(row: HTMLElement): void {
  const panel = row.closest<HTMLElement>(".tab-panel");
  if (!panel) return;
  const [box, view] = [row.getBoundingClientRect(), panel.getBoundingClientRect()];
  if (box.top < view.top + 8) panel.scrollTop += box.top - view.top - 60;
  else if (box.bottom > view.bottom - 8) panel.scrollTop += box.bottom - view.bottom + 60;
}

/** Index of the row that holds a time; -1 where none does. Rows rise and do not overlap. */
export function indexAt(rows: readonly { start_s: number; end_s: number }[], seconds: number): number {
  let [low, high] = [0, rows.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const row = rows[middle]!;
    if (seconds < row.start_s) high = middle - 1;
    else if (seconds >= row.end_s) low = middle + 1;
    else return middle;
  }
  return -1;
}
