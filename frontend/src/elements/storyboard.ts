// <malan-storyboard>: the shots of a promo as pictures to be put in order, trimmed, swapped and written on; all of it by
// keyboard too. Each state is kept by the server under its digest, so going back and forth loses nothing.
import { type Board, type Clip, lengthOf, moved, slipped, startsOf, swapped, trimEnd, trimStart, without, withShot } from "../lib/board";
import { h, icon, iconButton, isTyping, pageData } from "../lib/dom";
import { toast } from "../lib/toast";
import { clock, lasting, say } from "../lib/words";

interface View { digest: string; run: string; app: string; asked: Record<string, unknown>; board: Board; clips: Record<string, Clip> }

const SAVE_AFTER_MS = 500;
const RIBBON_PX = 40;
const TRIM_PX = 62;
const FORMATS = ["16:9", "9:16", "1:1", "4:5"];

class StoryboardTable extends HTMLElement {
  private view!: View;
  private board!: Board;
  private saved = "";
  private digest = "";
  private place = 0;
  private past: Board[] = [];
  private future: Board[] = [];
  private timer = 0;
  private saving: Promise<boolean> = Promise.resolve(true);
  private dragged = -1;
  private readonly strips = new Map<string, { url: string; cells: number }>();
  private readonly list = h("ol", { class: "shots", role: "listbox", "aria-label": say("board.shots"), "aria-orientation": "horizontal" });
  private readonly ribbon = h("div", { class: "ribbon", "aria-hidden": "true" });
  private readonly inspector = h("aside", { class: "panel inspector" });
  private readonly tally = h("span", { class: "tally tabular" });
  private readonly status = h("span", { class: "saved", role: "status" });
  private readonly undo = iconButton("undo", say("board.undo"), () => this.back(), "Ctrl Z");
  private readonly redo = iconButton("redo", say("board.redo"), () => this.forth(), "Ctrl ⇧ Z");
  private readonly render = h("button", { type: "button", class: "button primary", onclick: () => void this.make() }, say("board.render"));

  connectedCallback(): void {
    this.view = pageData<View>("board")!;
    this.board = this.view.board;
    this.digest = this.view.digest;
    this.saved = JSON.stringify(this.board);
    this.replaceChildren(
      h("div", { class: "board-head" }, h("h1", {}, say("board.title")), this.tally, h("span", { class: "space" }), this.status, this.undo, this.redo, this.render),
      this.film(),
      this.ribbon,
      h("div", { class: "board-body" }, this.list, this.inspector),
    );
    this.list.addEventListener("keydown", this.key);
    this.list.addEventListener("dragover", this.over);
    this.list.addEventListener("drop", this.drop);
    this.list.addEventListener("dragend", () => this.mark(-1));
    document.addEventListener("keydown", this.global);
    addEventListener("beforeunload", this.leaving);
    this.draw();
  }

  disconnectedCallback(): void {
    document.removeEventListener("keydown", this.global);
    removeEventListener("beforeunload", this.leaving);
  }

  // What is done to the board

  private change(board: Board, told = ""): void {
    if (JSON.stringify(board) === JSON.stringify(this.board)) return;
    this.past.push(this.board);
    this.future = [];
    this.take(board, told);
  }

  private take(board: Board, told = ""): void {
    this.board = board;
    this.place = Math.min(this.place, board.shots.length - 1);
    this.draw();
    this.status.textContent = told || say("board.unsaved");
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => (this.saving = this.save()), SAVE_AFTER_MS);
  }

  private back(): void {
    const last = this.past.pop();
    if (last) this.future.push(this.board), this.take(last);
  }

  private forth(): void {
    const next = this.future.pop();
    if (next) this.past.push(this.board), this.take(next);
  }

  private move(from: number, before: number): void {
    if (before === from || before === from + 1 || before < 0 || before > this.board.shots.length) return;
    this.place = before > from ? before - 1 : before;
    this.change(moved(this.board, from, before), say("board.moved", { n: this.place + 1 }));
    this.focusShot();
  }

  private removeShot(): void {
    if (this.board.shots.length < 2) return toast(say("board.last"));
    this.change(without(this.board, this.place));
    this.focusShot();
  }

  private async save(): Promise<boolean> {
    const text = JSON.stringify(this.board);
    if (text === this.saved) return this.tellSaved();
    this.status.textContent = say("board.saving");
    const reply = await fetch("/apps/boards", { method: "POST", headers: { "content-type": "application/json" }, body: text }).catch(() => null);
    if (!reply?.ok) {
      this.status.textContent = await refusal(reply);
      return false;
    }
    this.digest = ((await reply.json()) as { board: string }).board;
    this.saved = text;
    history.replaceState(null, "", `/apps/boards/${this.digest}${location.search}`);
    return this.tellSaved();
  }

  private tellSaved(): true {
    this.status.textContent = say("board.saved");
    return true;
  }

  private async make(): Promise<void> {
    clearTimeout(this.timer);
    this.render.disabled = true;
    await this.saving;
    if (await this.save()) {
      const asked = { ...this.view.asked, board: this.digest };
      const reply = await fetch(`/api/apps/${this.view.app}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(asked) }).catch(() => null);
      if (reply?.ok) return location.assign(((await reply.json()) as { page: string }).page);
      toast(await refusal(reply));
    }
    this.render.disabled = false;
  }

  private leaving = (event: BeforeUnloadEvent): void => {
    if (JSON.stringify(this.board) !== this.saved) event.preventDefault();
  };

  // What is shown

  private draw(): void {
    const { board } = this;
    this.tally.textContent = say("board.tally", { n: board.shots.length, length: lasting(lengthOf(board)) });
    this.undo.disabled = this.past.length === 0;
    this.redo.disabled = this.future.length === 0;
    this.drawShots();
    if (!this.inspector.contains(document.activeElement) || !isField(document.activeElement)) this.drawInspector();
  }

  private drawShots(): void {
    const starts = startsOf(this.board);
    const had = this.list.contains(document.activeElement);
    this.list.replaceChildren(...this.board.shots.map((_, n) => this.card(n, starts[n]!)));
    this.ribbon.replaceChildren(...this.board.shots.map((_, n) => this.segment(n)), ...this.beats());
    if (had) this.focusShot();
  }

  private card(n: number, start: number): HTMLElement {
    const shot = this.board.shots[n]!;
    const clip = this.view.clips[shot.clip];
    const picture = h("div", { class: "picture" });
    this.fill(picture, shot.clip, this.middle(n));
    const isChosen = n === this.place;
    const label = say("board.shot", { n: n + 1, length: (shot.frames / this.board.rate).toFixed(2), file: clip?.file ?? shot.clip.slice(0, 12), text: shot.text });
    const card = h(
      "li",
      { class: "shot", role: "option", draggable: "true", tabindex: isChosen ? "0" : "-1", "aria-selected": isChosen ? "true" : "false", "aria-label": label, "data-place": n },
      h("div", { class: "frame" }, picture, h("b", { class: "number" }, n + 1), h("span", { class: "length tabular" }, `${(shot.frames / this.board.rate).toFixed(2)} s`), !shot.sound && h("span", { class: "quiet-mark", title: say("board.muted") }, icon("muted"))),
      h("p", { class: "at tabular faint" }, clock(start)),
      shot.text ? h("p", { class: "words" }, shot.text) : null,
      !clip || clip.refused ? h("p", { class: "refused", title: clip?.refused ?? "" }, icon("alert"), say(clip ? "board.refused" : "board.gone")) : null,
    );
    card.addEventListener("click", () => this.choose(n));
    card.addEventListener("focus", () => n !== this.place && this.choose(n));
    card.addEventListener("dragstart", (event) => {
      this.dragged = n;
      event.dataTransfer?.setData("text/plain", String(n));
      if (event.dataTransfer) event.dataTransfer.effectAllowed = "move";
      card.classList.add("dragged");
    });
    return card;
  }

  private segment(n: number): HTMLElement {
    const segment = h("div", { class: n === this.place ? "segment chosen" : "segment" });
    const shot = this.board.shots[n]!;
    segment.style.flexGrow = String(shot.frames);
    const width = (this.ribbon.clientWidth * shot.frames) / this.board.rate / lengthOf(this.board);
    this.lay(segment, shot.clip, shot.from_s, shot.from_s + shot.frames / this.board.rate, width, RIBBON_PX);
    segment.addEventListener("click", () => (this.choose(n), this.focusShot()));
    return segment;
  }

  private beats(): HTMLElement[] {
    const length = lengthOf(this.board);
    return this.board.beats_s.filter((at) => at < length).map((at) => {
      const tick = h("i", { class: "beat" });
      tick.style.left = `${(at / length) * 100}%`;
      return tick;
    });
  }

  private middle(n: number): number {
    const shot = this.board.shots[n]!;
    return shot.from_s + shot.frames / this.board.rate / 2;
  }

  /** Lay a stretch of a clip out as pictures side by side, as many as there is room for, none of them out of shape. */
  private lay(box: HTMLElement, clipId: string, from: number, until: number, width: number, height: number): void {
    const count = Math.max(1, Math.ceil(width / (height * (this.view.clips[clipId]?.aspect ?? 16 / 9))));
    for (let n = 0; n < count; n++) {
      const picture = h("div", { class: "picture" });
      this.fill(picture, clipId, from + ((n + 0.5) / count) * (until - from));
      box.append(picture);
    }
  }

  /** Show the moment of a clip in a box, from its filmstrip. */
  private fill(box: HTMLElement, clipId: string, at: number): void {
    const clip = this.view.clips[clipId];
    if (!clip) return;
    const show = (url: string, cells: number): void => {
      const share = (at - clip.start_s) / Math.max(0.001, clip.end_s - clip.start_s);
      const cell = Math.min(cells - 1, Math.max(0, Math.floor(share * cells)));
      box.style.backgroundImage = `url(${url})`;
      box.style.backgroundSize = `${cells * 100}% 100%`;
      box.style.backgroundPosition = cells > 1 ? `${(cell / (cells - 1)) * 100}% 0` : "0 0";
    };
    box.style.setProperty("--aspect", String(clip.aspect));
    const known = this.strips.get(clipId);
    if (known) return show(known.url, known.cells);
    const image = new Image();
    const url = `/strips/${clipId}.jpg`;
    image.addEventListener("load", () => {
      const cells = Math.max(1, Math.round(image.naturalWidth / image.naturalHeight / clip.aspect));
      this.strips.set(clipId, { url, cells });
      show(url, cells);
    });
    image.src = url;
  }

  private film(): HTMLElement {
    const text = (name: "title" | "ending", most: number): HTMLElement => {
      const field = h("input", { class: "field", id: `board-${name}`, value: this.board[name], maxlength: most, placeholder: say(`board.${name}_none`) });
      field.addEventListener("input", () => this.change({ ...this.board, [name]: field.value }));
      return h("label", { for: `board-${name}` }, h("span", {}, say(`board.film_${name}`)), field);
    };
    const formats = h("fieldset", { class: "formats" }, h("legend", { class: "visually-hidden" }, say("board.formats")));
    for (const one of FORMATS) {
      const box = h("input", { type: "checkbox", value: one, checked: this.board.formats.includes(one) });
      box.addEventListener("change", () => {
        const chosen = FORMATS.filter((format) => formats.querySelector<HTMLInputElement>(`[value="${format}"]`)!.checked);
        if (!chosen.length) return void (box.checked = true);
        this.change({ ...this.board, formats: chosen });
      });
      formats.append(h("label", { class: "chip" }, box, h("span", {}, one)));
    }
    return h("div", { class: "panel film" }, text("title", 60), text("ending", 60), formats);
  }

  private drawInspector(): void {
    const shot = this.board.shots[this.place]!;
    const clip = this.view.clips[shot.clip];
    const words = h("textarea", { class: "field", id: "shot-text", rows: 2, maxlength: 200, placeholder: say("board.text_none") }, shot.text);
    words.addEventListener("input", () => this.change(withShot(this.board, this.place, { text: words.value.replace(/\n/g, " ") })));
    const tick = (name: "sound" | "cover_captions"): HTMLElement => {
      const box = h("input", { type: "checkbox", checked: shot[name] });
      box.addEventListener("change", () => this.change(withShot(this.board, this.place, { [name]: box.checked })));
      return h("label", { class: "tick" }, box, h("span", {}, say(`board.${name}`)));
    };
    this.inspector.replaceChildren(
      h("div", { class: "inspector-head" },
        h("h2", {}, say("board.shot_title", { n: this.place + 1 })), h("span", { class: "faint file" }, clip?.file ?? shot.clip.slice(0, 12)), h("span", { class: "space" }),
        iconButton("step-back", say("board.earlier"), () => this.move(this.place, this.place - 1), "Alt ←"),
        iconButton("step-on", say("board.later"), () => this.move(this.place, this.place + 2), "Alt →"),
        iconButton("close", say("board.remove"), () => this.removeShot(), "Del"),
      ),
      ...(clip?.refused ? [h("p", { class: "notice" }, icon("alert"), clip.refused)] : []),
      ...(clip ? [this.trimmer(clip)] : []),
      h("label", { for: "shot-text" }, say("board.text")), words,
      h("div", { class: "ticks" }, tick("sound"), tick("cover_captions")),
      this.swap(shot.clip),
    );
  }

  private trimmer(clip: Clip): HTMLElement {
    const shot = this.board.shots[this.place]!;
    const whole = Math.max(0.001, clip.end_s - clip.start_s);
    const bar = h("div", { class: "trim" });
    const pictures = h("div", { class: "pictures" });
    this.lay(pictures, clip.clip, clip.start_s, clip.end_s, this.inspector.clientWidth - 32 || TRIM_PX * 6, TRIM_PX);
    bar.append(pictures);
    const share = (seconds: number): string => `${Math.min(100, Math.max(0, (seconds / whole) * 100))}%`;
    const length = shot.frames / this.board.rate;
    const kept = h("div", { class: "kept" });
    kept.style.left = share(shot.from_s - clip.start_s);
    kept.style.width = share(length);
    const handle = (edge: "start" | "end"): HTMLElement =>
      h("span", {
        class: `handle ${edge}`, role: "slider", tabindex: 0, "aria-label": say(`board.${edge}`),
        "aria-valuemin": clip.start_s.toFixed(2), "aria-valuemax": clip.end_s.toFixed(2),
        "aria-valuenow": (edge === "start" ? shot.from_s : shot.from_s + length).toFixed(2), "data-edge": edge,
      });
    kept.append(handle("start"), handle("end"));
    kept.addEventListener("pointerdown", (event) => this.grab(event, bar, whole, clip));
    kept.addEventListener("keydown", (event) => this.nudge(event, clip));
    bar.append(kept);
    const times = h("p", { class: "times tabular faint" }, h("span", {}, clock(shot.from_s)), h("b", {}, say("board.frames", { n: shot.frames, length: length.toFixed(2) })), h("span", {}, clock(shot.from_s + length)));
    return h("div", { class: "trimming" }, bar, times);
  }

  /** Drag an edge, or the stretch between them; the change counts when the pointer is let go. */
  private grab(event: PointerEvent, bar: HTMLElement, whole: number, clip: Clip): void {
    const edge = (event.target as HTMLElement).dataset.edge;
    const before = this.board;
    const width = bar.getBoundingClientRect().width;
    const kept = event.currentTarget as HTMLElement;
    kept.setPointerCapture(event.pointerId);
    event.preventDefault();
    const at = (now: PointerEvent): Board => {
      const frames = Math.round((((now.clientX - event.clientX) / width) * whole) * before.rate);
      return edge === "start" ? trimStart(before, this.place, frames, clip) : edge === "end" ? trimEnd(before, this.place, frames, clip) : slipped(before, this.place, frames, clip);
    };
    const drag = (now: PointerEvent): void => {
      const shot = at(now).shots[this.place]!;
      kept.style.left = `${((shot.from_s - clip.start_s) / whole) * 100}%`;
      kept.style.width = `${(shot.frames / before.rate / whole) * 100}%`;
    };
    kept.addEventListener("pointermove", drag);
    kept.addEventListener("pointerup", (now) => (kept.removeEventListener("pointermove", drag), this.change(at(now))), { once: true });
  }

  private nudge(event: KeyboardEvent, clip: Clip): void {
    const edge = (event.target as HTMLElement).dataset.edge;
    const step = { ArrowLeft: -1, ArrowRight: 1, PageDown: -this.board.rate, PageUp: this.board.rate }[event.key];
    if (!edge || !step) return;
    event.preventDefault();
    event.stopPropagation();
    this.change((edge === "start" ? trimStart : trimEnd)(this.board, this.place, step, clip));
    this.inspector.querySelector<HTMLElement>(`[data-edge=${edge}]`)?.focus();
  }

  private swap(clipId: string): HTMLElement {
    const shelf = h("ul", { class: "others" });
    const field = h("input", { class: "field", type: "search", id: "swap", placeholder: say("board.swap_words") });
    const look = async (): Promise<void> => {
      shelf.setAttribute("aria-busy", "true");
      const asked = new URLSearchParams({ q: field.value, run: this.view.run });
      const reply = await fetch(`/apps/boards/others/${clipId}.json?${asked}`).catch(() => null);
      shelf.removeAttribute("aria-busy");
      if (!shelf.isConnected) return;
      if (!reply?.ok) return shelf.replaceChildren(h("li", { class: "faint" }, await refusal(reply)));
      const { clips } = (await reply.json()) as { clips: Clip[] };
      shelf.replaceChildren(...(clips.length ? clips.map((one) => this.other(one)) : [h("li", { class: "faint" }, say("board.swap_none"))]));
    };
    let timer = 0;
    field.addEventListener("input", (event) => {
      if ((event as InputEvent).isComposing) return;
      clearTimeout(timer);
      timer = window.setTimeout(() => void look(), 250);
    });
    field.addEventListener("compositionend", () => void look());
    queueMicrotask(() => void look());
    return h("section", { class: "swap" }, h("label", { for: "swap" }, say("board.swap")), field, shelf);
  }

  private other(clip: Clip): HTMLElement {
    const length = lasting(clip.end_s - clip.start_s);
    const image = h("img", { src: `/thumbs/${clip.clip}.jpg`, alt: "", loading: "lazy" });
    image.addEventListener("error", () => image.remove(), { once: true });
    const label = say("board.swap_for", { file: clip.file, at: clock(clip.start_s, 0), length });
    const button = h("button", { type: "button", title: label, "aria-label": label }, image, h("span", { class: "corner tabular" }, length));
    button.addEventListener("click", () => {
      this.view.clips[clip.clip] = clip;
      this.change(swapped(this.board, this.place, clip));
      this.drawInspector();
      this.focusShot();
    });
    return h("li", {}, button);
  }

  // Choosing and keys

  private choose(place: number): void {
    this.place = Math.max(0, Math.min(this.board.shots.length - 1, place));
    for (const [n, card] of [...this.list.children].entries()) {
      card.setAttribute("aria-selected", String(n === this.place));
      card.setAttribute("tabindex", n === this.place ? "0" : "-1");
    }
    for (const [n, segment] of [...this.ribbon.querySelectorAll(".segment")].entries()) segment.classList.toggle("chosen", n === this.place);
    this.drawInspector();
  }

  private focusShot(): void {
    (this.list.children[this.place] as HTMLElement | undefined)?.focus();
  }

  private key = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || isTyping(event)) return;
    const clip = this.view.clips[this.board.shots[this.place]!.clip];
    const { place, board } = this;
    const go: Record<string, () => void> = event.altKey
      ? { ArrowLeft: () => this.move(place, place - 1), ArrowRight: () => this.move(place, place + 2) }
      : {
          ArrowLeft: () => (this.choose(place - 1), this.focusShot()),
          ArrowRight: () => (this.choose(place + 1), this.focusShot()),
          ArrowUp: () => (this.choose(this.beside(-1)), this.focusShot()),
          ArrowDown: () => (this.choose(this.beside(1)), this.focusShot()),
          Home: () => (this.choose(0), this.focusShot()),
          End: () => (this.choose(board.shots.length - 1), this.focusShot()),
          Delete: () => this.removeShot(),
          Backspace: () => this.removeShot(),
          Enter: () => this.inspector.querySelector<HTMLElement>("#shot-text")?.focus(),
          ...(clip && {
            "[": () => this.change(trimEnd(board, place, -1, clip)),
            "]": () => this.change(trimEnd(board, place, 1, clip)),
            "{": () => this.change(trimStart(board, place, -1, clip)),
            "}": () => this.change(trimStart(board, place, 1, clip)),
            ",": () => this.change(slipped(board, place, -1, clip)),
            ".": () => this.change(slipped(board, place, 1, clip)),
          }),
        };
    const act = go[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  };

  /** The shot above or below, by where it stands on the page. */
  private beside(rows: number): number {
    const cards = [...this.list.children] as HTMLElement[];
    const here = cards[this.place]!.getBoundingClientRect();
    const tops = [...new Set(cards.map((card) => Math.round(card.getBoundingClientRect().top)))].sort((a, b) => a - b);
    const top = tops[tops.indexOf(Math.round(here.top)) + rows];
    if (top === undefined) return this.place;
    const far = (card: HTMLElement): number => Math.abs(card.getBoundingClientRect().left - here.left);
    const row = cards.filter((card) => Math.round(card.getBoundingClientRect().top) === top);
    return cards.indexOf(row.reduce((best, card) => (far(card) < far(best) ? card : best)));
  }

  private global = (event: KeyboardEvent): void => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || isTyping(event)) return;
    event.preventDefault();
    event.shiftKey ? this.forth() : this.back();
  };

  private over = (event: DragEvent): void => {
    if (this.dragged < 0) return;
    event.preventDefault();
    this.mark(this.target(event));
  };

  private drop = (event: DragEvent): void => {
    if (this.dragged < 0) return;
    event.preventDefault();
    const before = this.target(event);
    const from = this.dragged;
    this.mark(-1);
    this.move(from, before);
  };

  private target(event: DragEvent): number {
    const card = (event.target as HTMLElement).closest<HTMLElement>(".shot");
    if (!card) return this.board.shots.length;
    const box = card.getBoundingClientRect();
    return Number(card.dataset.place) + (event.clientX > box.left + box.width / 2 ? 1 : 0);
  }

  /** Show where a dragged shot would come to stand; below zero: nothing is dragged any more. */
  private mark(before: number): void {
    for (const [n, card] of [...this.list.children].entries()) {
      card.classList.toggle("drop-before", n === before);
      card.classList.toggle("drop-after", n === before - 1 && before === this.list.children.length);
      if (before < 0) card.classList.remove("dragged");
    }
    if (before < 0) this.dragged = -1;
  }
}

const isField = (element: Element | null): boolean => /^(INPUT|TEXTAREA)$/.test(element?.tagName ?? "");

async function refusal(reply: Response | null): Promise<string> {
  if (!reply) return say("no_answer");
  const said = (await reply.json().catch(() => null)) as { error?: { message: string } } | null;
  return said?.error?.message ?? say("no_answer");
}

customElements.define("malan-storyboard", StoryboardTable);
