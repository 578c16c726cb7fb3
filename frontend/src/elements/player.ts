// <malan-player>: one asset, exact to the frame. It plays the file itself; a preview copy only where the browser cannot.
//
// Times are those of the asset (packet index). What the browser calls currentTime may start elsewhere; the difference
// is measured once, on the first picture it shows. Start reading at `load` and `seekFrame`.
import { h, icon, iconButton } from "../lib/dom";
import type { FrameTimes } from "../lib/frames";
import type { AssetPage, Playback } from "../lib/models";
import { clock, count, say } from "../lib/words";
import { drawWave, peaksOf } from "./wave";

const SHUTTLE = [1, 2, 4, 8];
const REVERSE_STEP_MS = 80;
const PROXY_POLL_MS = 600;
const SETTLE_MS = 250;

export interface Moment { seconds: number; frame: number | null; playing: boolean }

export class Player extends HTMLElement {
  private asset!: AssetPage;
  private frames: FrameTimes | null = null;
  private media: HTMLMediaElement | null = null;
  private offset = 0; // media time minus asset time
  private isCalibrated = false;
  private afterCalibration: (() => void) | null = null;
  private wanted: number | null = null; // media time of the seek that should follow the running one
  private shownFrame: number | null = null;
  private reverseTimer = 0;
  private settleTimer = 0;
  private isProxy = false;

  private root = h("div", { class: "player" });
  private screen = h("div", { class: "screen" });
  private cover = h("div", { class: "cover", role: "status", hidden: true });
  private nowText = h("span", { class: "now" }, "0:00.00");
  private frameText = h("span", { class: "frame", "data-frame": "" });
  private rateText = h("span", { class: "rate", "aria-live": "polite" });
  private playButton!: HTMLButtonElement;
  private muteButton!: HTMLButtonElement;

  /** Build the controls and open the media; `frames` is null where there is no picture. */
  load(asset: AssetPage, frames: FrameTimes | null): void {
    this.asset = asset;
    this.frames = frames;
    this.root.append(this.screen, this.bar());
    this.screen.append(this.cover);
    this.replaceChildren(this.root);
    this.open(asset.playback);
  }

  get seconds(): number {
    return this.media ? this.media.currentTime - this.offset : this.asset.start_s;
  }

  get frame(): number | null {
    return this.shownFrame;
  }

  get isPlaying(): boolean {
    return this.media !== null && !this.media.paused;
  }

  /** Show exactly this frame: seek to its middle, so that no rounding lands on a neighbour. */
  seekFrame(frame: number): void {
    if (!this.frames) return;
    const wanted = Math.max(0, Math.min(this.frames.count - 1, frame));
    this.shownFrame = wanted;
    this.seekMedia(() => this.frames!.middle(wanted) + this.offset);
    this.tell(this.frames.start(wanted));
  }

  seek(seconds: number): void {
    if (this.frames) return this.seekFrame(this.frames.at(seconds));
    const end = this.asset.start_s + this.asset.duration_s;
    const wanted = Math.max(this.asset.start_s, Math.min(end, seconds));
    this.seekMedia(() => wanted + this.offset);
    this.tell(wanted);
  }

  /** One frame on or back; without a picture, a tenth of a second. */
  step(by: number): void {
    this.pause();
    if (this.frames) this.seekFrame((this.shownFrame ?? 0) + by);
    else this.seek(this.seconds + by / 10);
  }

  async play(): Promise<void> {
    this.stopReverse();
    await this.media?.play().catch(() => undefined);
  }

  pause(): void {
    this.stopReverse();
    if (this.media) {
      this.media.pause();
      this.media.playbackRate = 1;
    }
    this.showRate(0);
  }

  toggle(): void {
    if (this.isPlaying || this.reverseTimer) this.pause();
    else void this.play();
  }

  /** J, K, L: back, stop, on; pressing again goes faster. */
  shuttle(direction: -1 | 0 | 1): void {
    if (direction === 0 || !this.media) return this.pause();
    if (direction === 1) {
      const now = this.isPlaying ? SHUTTLE.indexOf(this.media.playbackRate) : -1;
      this.media.playbackRate = SHUTTLE[Math.min(now + 1, SHUTTLE.length - 1)] ?? 1;
      void this.play();
      return this.showRate(this.media.playbackRate);
    }
    this.reverse();
  }

  toggleMute(): void {
    if (!this.media) return;
    this.media.muted = !this.media.muted;
    this.muteButton.setAttribute("aria-pressed", String(this.media.muted));
    this.muteButton.replaceChildren(icon(this.media.muted ? "muted" : "sound"));
  }

  toggleFull(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void this.root.requestFullscreen().catch(() => undefined);
  }

  // Opening

  private open(playback: Playback): void {
    if (playback.problem) return this.explain(playback.problem.message, playback.problem.hint);
    if (playback.kind === "none") return this.explain(say("player.nothing"), "");
    if (playback.kind === "image" && playback.needs_proxy) return this.explain(playback.reason, say("player.failed_hint"));
    if (playback.kind === "image") return this.screen.prepend(h("img", { src: playback.url, alt: this.asset.file }));
    const hasCopy = playback.needs_proxy && playback.proxy_state === "ready";
    if (!hasCopy && playback.needs_proxy && !(playback.may_try && canOpen(playback.mime))) return this.offerProxy(playback);
    this.isProxy = hasCopy;
    this.playFrom(this.isProxy ? playback.proxy_url : playback.url, playback.kind);
  }

  private playFrom(url: string, kind: "video" | "audio"): void {
    this.media?.remove();
    const media = h("video", { src: url, preload: "auto", playsinline: true, tabindex: -1, "aria-label": this.asset.file });
    media.addEventListener("click", () => this.toggle());
    for (const name of ["play", "pause", "ended"]) media.addEventListener(name, () => this.showPlaying());
    media.addEventListener("seeked", () => this.seekAgain());
    media.addEventListener("error", () => this.failed());
    media.addEventListener("timeupdate", () => !this.frames && this.tell(this.seconds));
    media.addEventListener("loadedmetadata", () => this.calibrateLater(media, kind), { once: true });
    if (kind === "video") media.requestVideoFrameCallback((_, meta) => this.presented(media, meta.mediaTime));
    this.media = media;
    this.screen.prepend(media);
    if (kind === "audio") void this.showWave(media);
    this.cover.hidden = true;
  }

  /** What there is to see of a sound: its waveform, played part bright; a press goes there. */
  private async showWave(media: HTMLMediaElement): Promise<void> {
    const said = this.asset.peaks;
    const peaks = said ? await peaksOf(said.url) : null;
    if (!peaks || media !== this.media) return;
    const canvas = h("canvas", { class: "sound", "aria-hidden": "true" });
    media.after(canvas);
    const draw = (): void => drawWave(canvas, peaks, 0, 1, (this.seconds - this.asset.start_s) / this.asset.duration_s);
    canvas.addEventListener("pointerdown", (event) => {
      const box = canvas.getBoundingClientRect();
      this.seek(this.asset.start_s + ((event.clientX - box.left) / box.width) * this.asset.duration_s);
    });
    for (const name of ["timeupdate", "seeking"]) media.addEventListener(name, draw);
    new ResizeObserver(draw).observe(canvas);
  }

  /** Sound has no first picture to measure on, and a browser may show none while the page is hidden. */
  private calibrateLater(media: HTMLMediaElement, kind: "video" | "audio"): void {
    const first = this.frames?.start(0) ?? this.asset.start_s;
    setTimeout(() => !this.isCalibrated && media === this.media && this.calibrate(Math.max(0, first), first), kind === "audio" ? 0 : 2500);
  }

  private calibrate(mediaTime: number, assetTime: number): void {
    this.offset = mediaTime - assetTime;
    this.isCalibrated = true;
    this.afterCalibration?.();
    this.afterCalibration = null;
  }

  private presented(media: HTMLVideoElement, mediaTime: number): void {
    if (media !== this.media) return;
    if (!this.isCalibrated) this.calibrate(mediaTime, this.frames?.start(0) ?? mediaTime);
    clearTimeout(this.settleTimer);
    if (this.frames && !media.seeking && this.wanted === null && !this.afterCalibration) {
      const frame = this.frames.nearest(mediaTime - this.offset);
      // After quick steps a picture of an earlier one may come late: while paused, the frame asked for counts, unless
      // another picture stays.
      if (this.isPlaying || frame === this.shownFrame) this.showFrame(frame);
      else this.settleTimer = window.setTimeout(() => this.showFrame(frame), SETTLE_MS);
    }
    media.requestVideoFrameCallback((_, meta) => this.presented(media, meta.mediaTime));
  }

  private showFrame(frame: number): void {
    this.shownFrame = frame;
    this.tell(this.frames!.start(frame));
  }

  // Seeking: the browser does one seek at a time; only the last of those that come meanwhile is done.

  private seekMedia(target: () => number): void {
    clearTimeout(this.settleTimer);
    if (!this.isCalibrated) {
      this.afterCalibration = () => this.seekMedia(target);
      return;
    }
    if (!this.media) return;
    if (this.media.seeking) this.wanted = target();
    else this.media.currentTime = target();
  }

  private seekAgain(): void {
    if (this.wanted === null || !this.media) return;
    const next = this.wanted;
    this.wanted = null;
    this.media.currentTime = next;
  }

  private reverse(): void {
    const speed = Math.min(Number(this.dataset.reverse ?? 0) + 1, SHUTTLE.length);
    this.pause();
    this.dataset.reverse = String(speed);
    const rate = SHUTTLE[speed - 1] ?? 1;
    this.showRate(-rate);
    this.reverseTimer = window.setInterval(() => {
      if (!this.media?.seeking) this.seek((this.frames ? this.frames.start(this.shownFrame ?? 0) : this.seconds) - (REVERSE_STEP_MS / 1000) * rate);
    }, REVERSE_STEP_MS);
    this.showPlaying();
  }

  private stopReverse(): void {
    clearInterval(this.reverseTimer);
    this.reverseTimer = 0;
    delete this.dataset.reverse;
    this.showPlaying();
  }

  // Showing

  private tell(seconds: number): void {
    this.nowText.textContent = clock(seconds - this.asset.start_s);
    if (this.frames && this.shownFrame !== null) {
      this.frameText.dataset.frame = String(this.shownFrame);
      this.frameText.textContent = say("player.frame", { n: count(this.shownFrame) });
    }
    const detail: Moment = { seconds, frame: this.frames ? this.shownFrame : null, playing: this.isPlaying };
    this.dispatchEvent(new CustomEvent<Moment>("malan-moment", { detail }));
  }

  private showPlaying(): void {
    if (!this.playButton) return;
    const running = this.isPlaying || this.reverseTimer !== 0;
    this.playButton.replaceChildren(icon(running ? "pause" : "play"));
    this.playButton.setAttribute("aria-label", say(running ? "player.pause" : "player.play"));
  }

  private showRate(rate: number): void {
    this.rateText.textContent = rate === 0 || rate === 1 ? "" : `${rate}×`;
  }

  private bar(): HTMLElement {
    const ask = (name: string) => () => this.dispatchEvent(new CustomEvent(name));
    this.playButton = iconButton("play", say("player.play"), () => this.toggle(), "␣");
    this.muteButton = iconButton("sound", say("player.mute"), () => this.toggleMute(), "M");
    const total = h("span", { class: "faint wide" }, `/ ${clock(this.asset.duration_s)}`);
    const wide = (button: HTMLElement): HTMLElement => (button.classList.add("wide"), button);
    return h("div", { class: "bar", role: "toolbar", "aria-label": say("player.controls") },
      iconButton("previous", say("player.previous_shot"), ask("malan-previous-shot"), "↑"),
      iconButton("step-back", say("player.step_back"), () => this.step(-1), ","),
      this.playButton,
      iconButton("step-on", say("player.step_on"), () => this.step(1), "."),
      iconButton("next", say("player.next_shot"), ask("malan-next-shot"), "↓"),
      h("div", { class: "clock" }, this.nowText, total, this.frameText),
      this.rateText,
      h("span", { class: "space" }),
      wide(iconButton("mark-in", say("player.mark_in"), ask("malan-mark-in"), "I")),
      wide(iconButton("mark-out", say("player.mark_out"), ask("malan-mark-out"), "O")),
      wide(iconButton("copy", say("player.copy"), ask("malan-copy"), "C")),
      this.muteButton,
      iconButton("full", say("player.full"), () => this.toggleFull(), "F"),
    );
  }

  // When it cannot be played as it is

  private explain(message: string, hint: string, ...more: Node[]): void {
    this.cover.replaceChildren(h("h2", {}, message), h("p", {}, hint), ...more);
    this.cover.hidden = false;
  }

  private failed(): void {
    if (this.isProxy || this.asset.playback.problem) return this.explain(say("player.failed"), say("player.failed_hint"));
    this.media?.remove();
    this.media = null;
    const { playback } = this.asset;
    this.offerProxy({ ...playback, needs_proxy: true, reason: playback.reason || say("player.refused") });
  }

  private offerProxy(playback: Playback): void {
    if (playback.proxy_state === "running") return void this.followProxy();
    const make = h("button", { type: "button", class: "button primary", onclick: () => void this.makeProxy() }, say("player.make_proxy"));
    this.explain(playback.reason || say("player.refused"), say("player.proxy_hint"), make);
  }

  private async makeProxy(): Promise<void> {
    const reply = await fetch(`/assets/${this.asset.id}/proxy`, { method: "POST" });
    if (reply.ok) return this.followProxy();
    const { error } = (await reply.json()) as { error: { message: string; hint: string } };
    this.explain(error.message, error.hint);
  }

  /** Show the progress of the preview copy until it is there, then play it. */
  private async followProxy(): Promise<void> {
    const bar = h("i");
    const percent = h("span", { class: "tabular" });
    this.explain(say("player.making"), "", h("div", { class: "meter" }, bar), percent);
    for (;;) {
      const reply = await fetch(`/assets/${this.asset.id}/proxy.json`);
      const state = (await reply.json()) as Playback & { error?: { message: string; hint: string } };
      if (!reply.ok) return this.explain(state.error?.message ?? say("player.failed"), state.error?.hint ?? "");
      if (state.proxy_state === "ready") return this.open({ ...state, needs_proxy: true });
      if (state.proxy_state !== "running") return this.explain(state.problem?.message ?? say("player.failed"), state.problem?.hint ?? "");
      bar.style.transform = `scaleX(${state.proxy_progress})`;
      percent.textContent = `${Math.round(state.proxy_progress * 100)} %`;
      await new Promise((done) => setTimeout(done, PROXY_POLL_MS));
    }
  }
}

const canOpen = (mime: string): boolean => document.createElement("video").canPlayType(mime) !== "";

customElements.define("malan-player", Player);
