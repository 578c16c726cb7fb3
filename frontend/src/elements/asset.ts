// <malan-asset>: binds player, timeline and lists of the asset page, its keys and its deep links.
//
// `#frame=123`, `#t=12.5,18.2` (W3C media fragment) and `#clip=…` open the page at a moment. Start at `connectedCallback`.
import { h, isTyping, pageData } from "../lib/dom";
import { FrameTimes } from "../lib/frames";
import { indexAt, LazyRows } from "../lib/lists";
import type { AssetPage, CaptionRow, FindingGroup, FindingRow, ShotRow } from "../lib/models";
import { copyText, toast } from "../lib/toast";
import { clock, lasting, say } from "../lib/words";
import { fitStrip } from "./filmstrip";
import { Player, type Moment } from "./player";
import { kindColour, Timeline } from "./timeline";

export class AssetView extends HTMLElement {
  private asset!: AssetPage;
  private frames: FrameTimes | null = null;
  private player!: Player;
  private timeline!: Timeline;
  private shots!: LazyRows<ShotRow>;
  private captions!: LazyRows<CaptionRow>;
  private lines: CaptionRow[] = [];
  private marked: [number | null, number | null] = [null, null];
  private moment: Moment = { seconds: 0, frame: null, playing: false };
  private stopAt: number | null = null;
  private isReady = false;
  private whenReady: (() => void) | null = null;

  async connectedCallback(): Promise<void> {
    const asset = pageData<AssetPage>("asset");
    if (!asset) return;
    this.asset = asset;
    this.player = this.querySelector<Player>("malan-player")!;
    this.timeline = this.querySelector<Timeline>("malan-timeline")!;
    const times = asset.frame_count ? FrameTimes.load(asset.frames_url).catch(() => null) : Promise.resolve(null);
    this.listen();
    this.fillPanels();
    this.frames = await times;
    this.player.load(asset, this.frames);
    this.timeline.load(asset, this.frames);
    this.followLink();
    this.isReady = true;
    this.whenReady?.();
  }

  /** Go to a frame or time as soon as there is a player to go there; of several wishes before that, the last counts. */
  private go(step: (player: Player) => void): void {
    if (this.isReady) step(this.player);
    else this.whenReady = () => step(this.player);
  }

  // Moments

  private listen(): void {
    this.player.addEventListener("malan-moment", (event) => this.at((event as CustomEvent<Moment>).detail));
    this.player.addEventListener("malan-previous-shot", () => this.goShot(-1));
    this.player.addEventListener("malan-next-shot", () => this.goShot(1));
    this.player.addEventListener("malan-mark-in", () => this.mark(0));
    this.player.addEventListener("malan-mark-out", () => this.mark(1));
    this.player.addEventListener("malan-copy", () => this.copyFragment());
    this.timeline.addEventListener("malan-seek", (event) => this.player.seek((event as CustomEvent<number>).detail));
    this.timeline.addEventListener("malan-frame", (event) => this.player.seekFrame((event as CustomEvent<number>).detail));
    document.addEventListener("keydown", (event) => this.key(event));
    addEventListener("hashchange", () => this.followLink());
    this.listenToTabs();
  }

  private at(moment: Moment): void {
    this.moment = moment;
    this.timeline.moveTo(moment.seconds, moment.playing);
    this.shots.highlight(indexAt(this.asset.shots, moment.seconds));
    this.captions.highlight(indexAt(this.lines, moment.seconds));
    if (this.stopAt !== null && moment.playing && moment.seconds >= this.stopAt) {
      this.stopAt = null;
      this.player.pause();
    }
  }

  private goShot(by: -1 | 1): void {
    const { shots } = this.asset;
    if (!shots.length) return;
    const here = Math.max(0, indexAt(shots, this.moment.seconds));
    const atStart = this.moment.frame === shots[here]?.first_frame;
    const target = by === 1 ? here + 1 : atStart ? here - 1 : here;
    const shot = shots[Math.max(0, Math.min(shots.length - 1, target))];
    if (shot) this.player.seekFrame(shot.first_frame);
  }

  private followLink(): void {
    const said = new URLSearchParams(location.hash.slice(1));
    const [frame, time, clip] = [said.get("frame"), said.get("t"), said.get("clip")];
    const shot = clip ? this.asset.shots.find((s) => s.clip_id.startsWith(clip)) : undefined;
    if (shot) return this.player.seekFrame(shot.first_frame);
    if (frame !== null && /^\d+$/.test(frame)) return this.player.seekFrame(Number(frame));
    const range = /^(?:npt:)?([\d.]+)?(?:,([\d.]+))?$/.exec(time ?? "-");
    if (!range) return this.player.seek(this.asset.start_s);
    const [first, last] = [Number(range[1] ?? this.asset.start_s), range[2] ? Number(range[2]) : null];
    this.marked = [first, last];
    this.timeline.mark(this.marked);
    this.stopAt = last;
    this.player.seek(first + 1e-6);
  }

  private mark(edge: 0 | 1): void {
    const frame = this.moment.frame;
    this.marked[edge] = frame !== null && this.frames ? (edge === 0 ? this.frames.start(frame) : this.frames.start(frame + 1)) : this.moment.seconds;
    const [first, last] = this.marked;
    if (first !== null && last !== null && last <= first) this.marked[edge === 0 ? 1 : 0] = null;
    this.timeline.mark(this.marked);
    toast(say(edge === 0 ? "asset.marked_in" : "asset.marked_out", { at: clock(this.moment.seconds - this.asset.start_s) }));
  }

  /** The marked stretch as a media fragment; without marks, the shot under the playhead. */
  private copyFragment(): void {
    const shot = this.asset.shots[indexAt(this.asset.shots, this.moment.seconds)];
    const [first, last] = [this.marked[0] ?? shot?.start_s ?? this.moment.seconds, this.marked[1] ?? shot?.end_s];
    const written = (value: number): string => String(Number(value.toFixed(6)));
    const text = `${this.asset.id}#t=${written(first)}${last === undefined || last === null ? "" : `,${written(last)}`}`;
    void copyText(text, say("asset.copied", { from: clock(first - this.asset.start_s), to: last == null ? "" : clock(last - this.asset.start_s) }));
  }

  private key(event: KeyboardEvent): void {
    if (!this.isReady || isTyping(event) || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const onControl = event.target instanceof Element && event.target.closest("button, summary, a, [role=tab]");
    if (onControl && (event.key === " " || event.key === "Enter")) return;
    const act = this.actionOf(event);
    if (!act) return;
    event.preventDefault();
    act();
  }

  private actionOf(event: KeyboardEvent): (() => void) | undefined {
    const second = event.shiftKey ? 1 : 0;
    const go = (by: number) => () => (second ? this.player.seek(this.moment.seconds + by) : this.player.step(by));
    const { shots } = this.asset;
    const actions: Record<string, () => void> = {
      " ": () => this.player.toggle(), k: () => this.player.shuttle(0), j: () => this.player.shuttle(-1), l: () => this.player.shuttle(1),
      ",": () => this.player.step(-1), ".": () => this.player.step(1), ArrowLeft: go(-1), ArrowRight: go(1),
      ArrowUp: () => this.goShot(-1), ArrowDown: () => this.goShot(1), PageUp: () => this.goShot(-1), PageDown: () => this.goShot(1),
      Home: () => this.player.seek(this.asset.start_s), End: () => this.player.seek(this.asset.start_s + this.asset.duration_s),
      i: () => this.mark(0), o: () => this.mark(1), c: () => this.copyFragment(), m: () => this.player.toggleMute(), f: () => this.player.toggleFull(),
      "+": () => this.timeline.zoom(0.5), "=": () => this.timeline.zoom(0.5), "-": () => this.timeline.zoom(2), "0": () => this.timeline.fit(),
      x: () => { this.marked = [null, null]; this.timeline.mark(this.marked); },
    };
    if ((event.key === "ArrowUp" || event.key === "ArrowDown") && !shots.length) return undefined;
    return actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  }

  // Panels

  private fillPanels(): void {
    const panel = (name: string): HTMLElement => this.querySelector<HTMLElement>(`[data-panel="${name}"]`)!;
    this.shots = new LazyRows(this.asset.shots, (shot, n) => this.shotRow(shot, n));
    panel("shots").replaceChildren(this.asset.shots.length ? this.shots.box : nothing(say("asset.no_shots")));
    this.lines = this.asset.captions.filter((c) => !c.is_persistent);
    const still = this.asset.captions.filter((c) => c.is_persistent);
    this.captions = new LazyRows(this.lines, (c) => this.captionRow(c));
    const persistent = still.length ? [h("h3", { class: "faint" }, say("asset.persistent")), ...still.map((c) => this.captionRow(c))] : [];
    panel("captions").replaceChildren(...(this.asset.captions.length ? [this.captions.box, ...persistent] : [nothing(say("asset.no_captions"))]));
    const groups = this.asset.findings.map((g) => this.group(g));
    panel("findings").replaceChildren(...(groups.length ? groups : [nothing(say("asset.no_findings"))]));
  }

  private shotRow(shot: ShotRow, n: number): HTMLElement {
    const picture = h("img", { src: `/strips/${shot.clip_id}.jpg`, alt: "", loading: "lazy", decoding: "async", fetchpriority: "low" });
    const thumb = h("span", { class: "thumb" }, h("span", { class: "cell" }, picture));
    fitStrip(picture, this.asset.aspect);
    const kind = h("span", { class: "tag" }, say(`transition.${shot.transition.type}`));
    kind.style.setProperty("--key", `var(--${kindColour(shot.transition.type)})`);
    const sure = shot.transition.type === "start" ? "" : `${Math.round(shot.transition.confidence * 100)} %`;
    if (shot.colour) thumb.style.background = shot.colour;
    return h("button", { type: "button", class: "row", "data-shot": n, "data-first-frame": shot.first_frame, onclick: () => this.go((player) => player.seekFrame(shot.first_frame)) },
      thumb,
      h("span", { class: "grow" },
        h("span", {}, h("b", { class: "tabular" }, String(n + 1)), " ", kind, shot.tags.length ? ` · ${shot.tags.join(" · ")}` : ""),
        h("span", { class: "two" }, `${clock(shot.start_s - this.asset.start_s)} · ${lasting(shot.end_s - shot.start_s)} · ${say("player.frame", { n: shot.first_frame })}`)),
      h("span", { class: "sure", title: say("asset.confidence") }, sure));
  }

  private captionRow(caption: CaptionRow): HTMLElement {
    const go = (): void => this.go((player) => (caption.is_spoken ? player.seek(caption.start_s) : player.seekFrame(caption.first_frame)));
    return h("button", { type: "button", class: "row", "data-first-frame": caption.first_frame, onclick: go },
      h("time", {}, clock(caption.start_s - this.asset.start_s)),
      h("span", { class: "grow" }, h("span", { class: "wrap" }, caption.text), ...(caption.is_spoken ? [h("span", { class: "tag" }, say("asset.spoken"))] : [])),
      h("span", { class: "sure" }, caption.confidence === null ? "" : `${Math.round(caption.confidence * 100)} %`));
  }

  private group(group: FindingGroup): HTMLElement {
    const rows = new LazyRows(group.rows, (row) => this.findingRow(row));
    return h("details", { class: "group", "data-kind": group.kind },
      h("summary", {}, group.label, h("span", { class: "faint tabular" }, String(group.total)), h("span", { class: "by mono" }, `${group.producer} ${group.version}`)),
      rows.box);
  }

  private findingRow(row: FindingRow): HTMLElement {
    const go = (): void => this.go((player) => (row.first_frame !== null ? player.seekFrame(row.first_frame) : player.seek(row.start_s + 1e-6)));
    return h("button", { type: "button", class: "row", onclick: go },
      h("time", {}, clock(row.start_s - this.asset.start_s)),
      h("span", { class: "grow" }, h("span", { class: "wrap" }, row.summary), row.reason ? h("span", { class: "two wrap" }, row.reason) : null),
      h("span", { class: "sure", title: say("asset.confidence") }, row.confidence === null ? "" : `${Math.round(row.confidence * 100)} %`));
  }

  private listenToTabs(): void {
    const tabs = [...this.querySelectorAll<HTMLButtonElement>("[role=tab]")];
    const open = (tab: HTMLButtonElement): void => {
      for (const other of tabs) {
        const isOpen = other === tab;
        other.setAttribute("aria-selected", String(isOpen));
        other.tabIndex = isOpen ? 0 : -1;
        this.querySelector<HTMLElement>(`[data-panel="${other.dataset.tab}"]`)!.hidden = !isOpen;
      }
    };
    tabs.forEach((tab, n) => {
      tab.addEventListener("click", () => open(tab));
      tab.addEventListener("keydown", (event) => {
        const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
        if (!by) return;
        event.preventDefault();
        event.stopPropagation();
        const next = tabs[(n + by + tabs.length) % tabs.length]!;
        open(next);
        next.focus();
      });
    });
  }
}

const nothing = (text: string): HTMLElement => h("p", { class: "nothing" }, text);

customElements.define("malan-asset", AssetView);
