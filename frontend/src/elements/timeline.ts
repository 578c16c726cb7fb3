// <malan-timeline>: shots, captions, speech and loudness of one asset on one time axis.
//
// The lanes are one canvas, so ten hours with ten thousand shots stay smooth; the lists beside it hold the same for
// screen readers and keyboards. Wheel with Ctrl zooms where the pointer is, Shift scrolls. Start reading at `draw`.
import { h, iconButton, themeColour } from "../lib/dom";
import type { FrameTimes } from "../lib/frames";
import type { AssetPage, CaptionRow, ShotRow } from "../lib/models";
import { clock, count, say } from "../lib/words";
import type { LoudnessCurve } from "../lib/curve";
import { indexAt } from "../lib/lists";
import { Strips, type Strip } from "../lib/strips";

const RULER = 24, SHOTS = 58, CAPTIONS = 28, SPEECH = 12, GAP = 4;
const LEAST_VIEW_S = 0.4;
const TICKS_S = [0.04, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

export class Timeline extends HTMLElement {
  private asset!: AssetPage;
  private frames: FrameTimes | null = null;
  private from = 0;
  private to = 1;
  private now = 0;
  private marked: [number | null, number | null] = [null, null];
  private canvas = h("canvas", { "aria-hidden": "true" });
  private body = h("div", { class: "body", tabindex: 0, role: "slider", "aria-label": say("timeline.label"), "aria-orientation": "horizontal" });
  private playhead = h("div", { class: "playhead" });
  private ghost = h("div", { class: "ghost", hidden: true });
  private peek = h("div", { class: "peek", hidden: true });
  private peekCanvas = h("canvas", { width: 388, height: 218 });
  private peekTime = h("p");
  private peekLine = h("p", { class: "line" });
  private thumb = h("i");
  private overview = h("div", { class: "overview", "aria-hidden": "true" }, this.thumb);
  private strips!: Strips;
  private curve: LoudnessCurve | null = null;
  private drawAsked = 0;
  private width = 1; // of the lanes, as last laid out

  load(asset: AssetPage, frames: FrameTimes | null): void {
    this.asset = asset;
    this.frames = frames;
    this.strips = new Strips(asset.aspect, () => this.refresh());
    [this.from, this.to] = [this.start, this.end];
    this.now = this.start;
    this.style.position = "relative";
    const curve = h("div", { class: "curve" });
    this.body.append(this.canvas);
    if (asset.loudness) this.body.append(curve);
    this.body.append(this.ghost, this.playhead);
    const picture = h("div", { class: "picture" }, this.peekCanvas);
    this.peek.append(...(asset.shots.length ? [picture] : []), this.peekTime, this.peekLine);
    this.replaceChildren(h("div", { class: "timeline" }, this.tools(), this.body, this.overview), this.peek);
    this.listen();
    if (asset.loudness) void this.loadCurve(curve);
    this.refresh();
  }

  /** Where the player is; while it plays, the view turns the page when the playhead leaves it. */
  moveTo(seconds: number, playing: boolean): void {
    this.now = seconds;
    const width = this.to - this.from;
    if (seconds < this.from || seconds > this.to) this.setView(playing ? seconds - width * 0.05 : seconds - width / 2, width);
    this.placePlayhead();
    this.body.setAttribute("aria-valuenow", (seconds - this.start).toFixed(2));
    this.body.setAttribute("aria-valuetext", clock(seconds - this.start));
  }

  /** The stretch between the in and out marks, shaded. */
  mark(range: [number | null, number | null]): void {
    this.marked = range;
    this.refresh();
  }

  zoom(factor: number, around = this.now): void {
    const width = Math.max(LEAST_VIEW_S, Math.min(this.end - this.start, (this.to - this.from) * factor));
    const share = Math.max(0, Math.min(1, (around - this.from) / (this.to - this.from)));
    this.setView(around - share * width, width);
  }

  fit(): void {
    this.setView(this.start, this.end - this.start);
  }

  private get start(): number {
    return this.asset.start_s;
  }

  private get end(): number {
    return this.asset.start_s + Math.max(this.asset.duration_s, 0.04);
  }


  private get hasSpeech(): boolean {
    return this.asset.stretches.length > 0;
  }

  private get height(): number {
    return RULER + (this.asset.shots.length ? SHOTS + GAP : 0) + (this.asset.captions.length ? CAPTIONS + GAP : 0) + (this.hasSpeech ? SPEECH + GAP : 0);
  }

  private setView(from: number, width: number): void {
    const most = Math.min(width, this.end - this.start);
    this.from = Math.max(this.start, Math.min(this.end - most, from));
    this.to = this.from + most;
    this.curve?.view(this.from, this.to);
    this.refresh();
  }

  private x(seconds: number): number {
    return ((seconds - this.from) / (this.to - this.from)) * this.width;
  }

  private secondsAt(clientX: number): number {
    const box = this.body.getBoundingClientRect();
    const share = Math.max(0, Math.min(1, (clientX - box.left) / box.width));
    return this.from + share * (this.to - this.from);
  }

  private refresh(): void {
    cancelAnimationFrame(this.drawAsked);
    this.drawAsked = requestAnimationFrame(() => this.draw());
    this.placePlayhead();
    const whole = this.end - this.start;
    this.thumb.style.left = `${((this.from - this.start) / whole) * 100}%`;
    this.thumb.style.width = `${((this.to - this.from) / whole) * 100}%`;
  }

  private placePlayhead(): void {
    const x = this.x(this.now);
    this.playhead.style.transform = `translateX(${x}px)`;
    this.playhead.hidden = x < -1 || x > this.width + 1;
  }

  // Drawing

  private draw(): void {
    this.width = Math.max(1, this.body.clientWidth);
    const scale = devicePixelRatio || 1;
    const [width, height] = [this.width, this.height];
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.style.height = `${height}px`;
    const pen = this.canvas.getContext("2d")!;
    pen.scale(scale, scale);
    pen.font = `500 11px ${getComputedStyle(this).fontFamily}`;
    pen.textBaseline = "middle";
    this.drawRuler(pen, width, height);
    let top = RULER;
    if (this.asset.shots.length) top = this.drawShots(pen, top);
    if (this.asset.captions.length) top = this.drawCaptions(pen, top);
    if (this.hasSpeech) this.drawSpeech(pen, top);
    this.drawMarked(pen, width, height);
  }

  private drawRuler(pen: CanvasRenderingContext2D, width: number, height: number): void {
    const step = TICKS_S.find((s) => (s / (this.to - this.from)) * width >= 84) ?? 14400;
    const digits = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    const first = Math.ceil((this.from - this.start) / step);
    for (let n = first; this.start + n * step <= this.to; n++) {
      const x = Math.round(this.x(this.start + n * step)) + 0.5;
      pen.strokeStyle = themeColour("line");
      pen.beginPath();
      pen.moveTo(x, 16);
      pen.lineTo(x, height);
      pen.stroke();
      pen.fillStyle = themeColour("faint");
      pen.fillText(clock(n * step, digits), x + 4, 11);
    }
  }

  private visible<T extends { start_s: number; end_s: number }>(rows: T[]): T[] {
    let [low, high] = [0, rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle]!.end_s <= this.from) low = middle + 1;
      else high = middle;
    }
    let last = low;
    while (last < rows.length && rows[last]!.start_s < this.to) last++;
    return rows.slice(low, last);
  }

  private drawShots(pen: CanvasRenderingContext2D, top: number): number {
    let drawnTo = -1;
    for (const shot of this.visible(this.asset.shots)) {
      const [left, right] = [Math.max(-1, this.x(shot.start_s)), Math.min(this.width + 1, this.x(shot.end_s))];
      if (right - drawnTo < 1) continue; // thinner than a pixel: the neighbour already stands for it
      drawnTo = right;
      this.drawShot(pen, shot, left, top, right - left);
    }
    return top + SHOTS + GAP;
  }

  private drawShot(pen: CanvasRenderingContext2D, shot: ShotRow, left: number, top: number, width: number): void {
    const isCurrent = this.now >= shot.start_s && this.now < shot.end_s;
    const colour = themeColour(kindColour(shot.transition.type));
    if (width < 4) {
      pen.fillStyle = shot.colour ?? colour;
      pen.fillRect(left, top, Math.max(1, width - (width > 2 ? 0.5 : 0)), SHOTS);
      return;
    }
    pen.save();
    pen.beginPath();
    pen.roundRect(left + 0.5, top, Math.max(1, width - 1.5), SHOTS, Math.min(4, width / 3));
    pen.clip();
    pen.fillStyle = shot.colour ?? themeColour("hover");
    pen.fillRect(left, top, width, SHOTS);
    if (width > 5) this.drawFrames(pen, shot, left, top, width);
    this.drawTransition(pen, shot, top, colour);
    pen.restore();
    if (width > 5) {
      pen.fillStyle = isCurrent ? themeColour("accent") : colour;
      pen.fillRect(left + 0.5, top + SHOTS - 3, Math.max(1, width - 1.5), 3);
    }
  }

  /** The shot's filmstrip, each frame over the part of the shot it stands for, repeated where there is room. */
  private drawFrames(pen: CanvasRenderingContext2D, shot: ShotRow, left: number, top: number, width: number): void {
    const strip = this.strips.get(shot.clip_id);
    if (!strip) return;
    const tile = SHOTS * this.asset.aspect;
    const trueLeft = this.x(shot.start_s);
    const trueWidth = this.x(shot.end_s) - trueLeft;
    const skipped = Math.max(0, Math.floor((left - trueLeft) / tile));
    for (let x = trueLeft + skipped * tile; x < left + width; x += tile) {
      const share = (x - trueLeft + Math.min(tile, trueWidth) / 2) / trueWidth;
      drawCell(pen, strip, share, x, top, tile, SHOTS);
    }
  }

  /** A dissolve or fade is a wedge over the frames it lasts. */
  private drawTransition(pen: CanvasRenderingContext2D, shot: ShotRow, top: number, colour: string): void {
    const { type, first_frame, last_frame } = shot.transition;
    if (!this.frames || (type !== "dissolve" && type !== "fade")) return;
    const [left, right] = [this.x(this.frames.start(first_frame)), this.x(this.frames.start(last_frame + 1))];
    pen.fillStyle = colour;
    pen.globalAlpha = 0.55;
    pen.beginPath();
    pen.moveTo(left, top + SHOTS);
    pen.lineTo(left, top);
    pen.lineTo(Math.max(right, left + 3), top + SHOTS);
    pen.fill();
    pen.globalAlpha = 1;
  }

  private drawCaptions(pen: CanvasRenderingContext2D, top: number): number {
    const ink = themeColour("text");
    const whole = this.width;
    let drawnTo = -10;
    for (const caption of this.visible(this.asset.captions)) {
      const [left, right] = [Math.max(-4, this.x(caption.start_s)), Math.min(whole + 4, this.x(caption.end_s))];
      if (right - drawnTo < 1) continue; // thinner than a pixel: the neighbour already stands for it
      drawnTo = right;
      const width = Math.max(1.5, right - left - 1);
      pen.save();
      pen.beginPath();
      pen.roundRect(left + 0.5, top, width, CAPTIONS, Math.min(4, width / 3));
      pen.clip();
      pen.globalAlpha = 0.22;
      pen.fillStyle = themeColour(caption.is_persistent ? "persistent" : "caption");
      pen.fill();
      pen.globalAlpha = 1;
      pen.fillRect(left + 0.5, top, 2, CAPTIONS);
      pen.fillStyle = ink;
      if (width > 18) pen.fillText(caption.text, Math.max(left, 0) + 8, top + CAPTIONS / 2 + 0.5);
      pen.restore();
    }
    return top + CAPTIONS + GAP;
  }

  private drawSpeech(pen: CanvasRenderingContext2D, top: number): void {
    let drawnTo = -10;
    for (const stretch of this.visible(this.asset.stretches)) {
      const [left, right] = [this.x(stretch.start_s), this.x(stretch.end_s)];
      if (right - drawnTo < 1) continue;
      drawnTo = right;
      pen.fillStyle = themeColour(stretch.kind === "speech" ? "speech" : "silence");
      pen.globalAlpha = stretch.kind === "speech" ? 0.85 : 0.5;
      pen.beginPath();
      pen.roundRect(left, top + 2, Math.max(1, right - left), SPEECH - 6, 3);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  private drawMarked(pen: CanvasRenderingContext2D, width: number, height: number): void {
    const [first, last] = this.marked;
    if (first === null && last === null) return;
    const [left, right] = [first === null ? 0 : this.x(first), last === null ? width : this.x(last)];
    pen.fillStyle = themeColour("ground");
    pen.globalAlpha = 0.62;
    pen.fillRect(0, 0, left, height);
    pen.fillRect(right, 0, width - right, height);
    pen.globalAlpha = 1;
    pen.fillStyle = themeColour("accent");
    pen.fillRect(left, 0, right - left, 2);
  }

  // Acting

  private listen(): void {
    this.body.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.body.setPointerCapture(event.pointerId);
      this.choose(event);
    });
    this.body.addEventListener("pointermove", (event) => {
      this.showPeek(event);
      if (this.body.hasPointerCapture(event.pointerId)) this.ask(this.secondsAt(event.clientX));
    });
    this.body.addEventListener("pointerleave", () => (this.peek.hidden = this.ghost.hidden = true));
    this.body.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.overview.addEventListener("pointerdown", (event) => this.overview.setPointerCapture(event.pointerId));
    this.overview.addEventListener("pointermove", (event) => this.dragOverview(event));
    this.overview.addEventListener("pointerdown", (event) => this.dragOverview(event));
    new ResizeObserver(() => {
      this.width = Math.max(1, this.body.clientWidth);
      this.refresh();
    }).observe(this.body);
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => (this.curve?.paint(), this.refresh()));
    this.body.setAttribute("aria-valuemin", "0");
    this.body.setAttribute("aria-valuemax", (this.end - this.start).toFixed(2));
  }

  /** A press on a caption goes to its first frame; anywhere else to the frame under the pointer. */
  private choose(event: PointerEvent): void {
    const y = event.clientY - this.body.getBoundingClientRect().top;
    const seconds = this.secondsAt(event.clientX);
    const caption = this.isCaptionLane(y) ? this.captionAt(seconds) : undefined;
    if (caption) this.dispatchEvent(new CustomEvent("malan-frame", { detail: caption.first_frame }));
    else this.ask(seconds);
  }

  private isCaptionLane(y: number): boolean {
    const top = RULER + (this.asset.shots.length ? SHOTS + GAP : 0);
    return this.asset.captions.length > 0 && y >= top && y < top + CAPTIONS;
  }

  private captionAt(seconds: number): CaptionRow | undefined {
    return this.asset.captions.find((c) => seconds >= c.start_s && seconds < c.end_s);
  }

  private ask(seconds: number): void {
    this.dispatchEvent(new CustomEvent("malan-seek", { detail: seconds }));
  }

  private wheel(event: WheelEvent): void {
    const across = Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : event.shiftKey ? event.deltaY : 0;
    if (!event.ctrlKey && !event.metaKey && !across) return;
    event.preventDefault();
    const width = this.to - this.from;
    if (across && !event.ctrlKey) this.setView(this.from + (across / this.width) * width, width);
    else this.zoom(Math.exp(event.deltaY * 0.004), this.secondsAt(event.clientX));
  }

  private dragOverview(event: PointerEvent): void {
    if (!this.overview.hasPointerCapture(event.pointerId)) return;
    const box = this.overview.getBoundingClientRect();
    const width = this.to - this.from;
    this.setView(this.start + ((event.clientX - box.left) / box.width) * (this.end - this.start) - width / 2, width);
  }

  private showPeek(event: PointerEvent): void {
    if (event.pointerType === "touch") return;
    const seconds = this.secondsAt(event.clientX);
    const x = event.clientX - this.getBoundingClientRect().left;
    this.ghost.hidden = this.peek.hidden = false;
    this.ghost.style.transform = `translateX(${x}px)`;
    this.peek.style.left = `${Math.max(0, Math.min(this.clientWidth - 204, x - 102))}px`;
    const frame = this.frames ? say("player.frame", { n: count(this.frames.at(seconds)) }) : "";
    this.peekTime.replaceChildren(h("span", {}, clock(seconds - this.start)), h("span", { class: "faint" }, frame));
    this.peekLine.textContent = this.captionAt(seconds)?.text ?? "";
    this.peekLine.hidden = !this.peekLine.textContent;
    this.drawPeek(seconds);
  }

  private drawPeek(seconds: number): void {
    const shot = this.asset.shots[indexAt(this.asset.shots, seconds)];
    const strip = shot ? this.strips.get(shot.clip_id) : null;
    const pen = this.peekCanvas.getContext("2d")!;
    const { width, height } = this.peekCanvas;
    pen.clearRect(0, 0, width, height);
    if (!shot || !strip) return;
    const scale = Math.min(width / this.asset.aspect, height);
    const [w, t] = [scale * this.asset.aspect, scale];
    drawCell(pen, strip, (seconds - shot.start_s) / (shot.end_s - shot.start_s), (width - w) / 2, (height - t) / 2, w, t);
  }

  private async loadCurve(box: HTMLElement): Promise<void> {
    const { LoudnessCurve, QUIETEST_LUFS } = await import("../lib/curve");
    const { start_s, step_s, values_lufs, integrated_lufs } = this.asset.loudness!;
    const points = values_lufs.map((v, n): [number, number] => [start_s + n * step_s, Math.max(QUIETEST_LUFS, v ?? QUIETEST_LUFS)]);
    const inner = h("div");
    inner.style.cssText = "position:absolute;inset:0";
    box.append(inner);
    const text = integrated_lufs === null ? say("timeline.loudness") : say("timeline.integrated", { n: integrated_lufs.toFixed(1) });
    box.append(h("span", { class: "scale tabular" }, text));
    this.curve = new LoudnessCurve(inner, points, integrated_lufs);
    this.curve.view(this.from, this.to);
  }

  private tools(): HTMLElement {
    const key = (colour: string, label: string): HTMLElement => {
      const dot = h("i");
      dot.style.setProperty("--key", `var(--${colour})`);
      return h("span", {}, dot, label);
    };
    const kinds = new Set(this.asset.shots.map((s) => s.transition.type));
    const legend = h("div", { class: "legend" },
      ...(kinds.has("cut") ? [key("cut", say("transition.cut"))] : []),
      ...(kinds.has("dissolve") ? [key("dissolve", say("transition.dissolve"))] : []),
      ...(kinds.has("fade") ? [key("fade", say("transition.fade"))] : []),
      ...(this.asset.captions.length ? [key("caption", say("timeline.captions"))] : []),
      ...(this.asset.stretches.some((s) => s.kind === "speech") ? [key("speech", say("timeline.speech"))] : []),
      ...(this.asset.stretches.some((s) => s.kind === "silence") ? [key("silence", say("timeline.silence"))] : []),
      ...(this.asset.loudness ? [key("loud", say("timeline.loudness"))] : []));
    return h("div", { class: "tools" }, legend,
      iconButton("minus", say("timeline.out"), () => this.zoom(2), "−"),
      iconButton("plus", say("timeline.in"), () => this.zoom(0.5), "+"),
      iconButton("fit", say("timeline.fit"), () => this.fit(), "0"));
  }
}

export function kindColour(type: string): string {
  return type === "dissolve" || type === "fade" ? type : "cut";
}

/** Draw the frame of a strip that stands for a share of its shot. */
function drawCell(pen: CanvasRenderingContext2D, strip: Strip, share: number, x: number, y: number, width: number, height: number): void {
  const cell = Math.max(0, Math.min(strip.cells - 1, Math.floor(share * strip.cells)));
  pen.drawImage(strip.image, cell * strip.cellWidth, 0, strip.cellWidth, strip.image.naturalHeight, x, y, width, height);
}

customElements.define("malan-timeline", Timeline);
