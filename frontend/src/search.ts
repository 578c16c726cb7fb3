// The search page: keys between results, choosing several of them, and what can be done with the choice.
import { h, isTyping } from "./lib/dom";
import type { Filmstrip } from "./elements/filmstrip";
import { copyText, toast } from "./lib/toast";
import { lasting, say } from "./lib/words";

const picked = new Map<string, { fragment: string; seconds: number; asset: string; file: string }>();

export function startSearch(form: HTMLFormElement): void {
  const query = form.querySelector<HTMLInputElement>("input[type=search]")!;
  waitForWords(query);
  document.addEventListener("keydown", (event) => key(event, query));
  document.addEventListener("change", (event) => pick(event));
  document.addEventListener("htmx:load", () => dress(form));
  form.addEventListener("change", () => dress(form));
  form.querySelector(".filter-toggle")?.addEventListener("click", (event) => {
    const isOpen = form.querySelector(".filters")!.classList.toggle("open");
    (event.currentTarget as HTMLElement).setAttribute("aria-expanded", String(isOpen));
  });
  form.querySelector("[data-clear]")?.addEventListener("click", () => clearFilters(form));
  dress(form);
}

/** While an input method is open, what stands in the field is not yet what is meant: search when the words are chosen. */
function waitForWords(query: HTMLInputElement): void {
  const hold = (event: Event): void => {
    if (event.target === query && (event as InputEvent).isComposing) event.stopImmediatePropagation();
  };
  document.addEventListener("input", hold, true);
  query.addEventListener("compositionend", () => query.dispatchEvent(new Event("input", { bubbles: true })));
}

const cards = (): HTMLElement[] => [...document.querySelectorAll<HTMLElement>(".card")];

/** What the server's HTML cannot say under a policy without inline style: colours; and which filters are set. */
function dress(form: HTMLFormElement): void {
  for (const swatch of document.querySelectorAll<HTMLElement>("[data-colour]")) swatch.style.background = swatch.dataset.colour ?? "";
  for (const card of cards()) {
    const isPicked = picked.has(card.dataset.clip ?? "");
    card.toggleAttribute("data-picked", isPicked);
    const box = card.querySelector<HTMLInputElement>(".pick input");
    if (box) box.checked = isPicked;
  }
  let set = 0;
  for (const select of form.querySelectorAll("select")) {
    const isSet = select.value !== "" && select.name !== "sort";
    select.classList.toggle("set", isSet);
    set += Number(isSet);
  }
  set += form.querySelectorAll(".chip :checked").length;
  form.querySelector<HTMLElement>("[data-clear]")!.hidden = set === 0;
}

function clearFilters(form: HTMLFormElement): void {
  for (const select of form.querySelectorAll("select")) select.value = "";
  for (const box of form.querySelectorAll<HTMLInputElement>(".chip input")) box.checked = false;
  form.dispatchEvent(new Event("change", { bubbles: true }));
}

function key(event: KeyboardEvent, query: HTMLInputElement): void {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target === query) {
    if (event.key === "ArrowDown" && !event.isComposing) focus(cards()[0], event);
    if (event.key === "Escape" && query.value) {
      query.value = "";
      query.dispatchEvent(new Event("input", { bubbles: true }));
    }
    return;
  }
  if (isTyping(event)) return;
  const card = (document.activeElement as HTMLElement | null)?.closest<HTMLElement>(".card") ?? null;
  const all = cards();
  const here = card ? all.indexOf(card) : -1;
  const columns = columnsOf(all);
  const moves: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  const by = moves[event.key];
  if (by !== undefined) {
    if (here < 0) return focus(all[0], event);
    const target = here + by;
    return target < 0 ? focus(query, event) : focus(all[Math.min(target, all.length - 1)], event);
  }
  if (event.key === "Escape" && picked.size) return clearPicked();
  if (!card) return;
  const isControl = document.activeElement !== card;
  if (event.key === "Enter" && !isControl) card.querySelector<HTMLAnchorElement>("a.strip")?.click();
  else if (event.key === " " && !isControl) (event.preventDefault(), card.querySelector<Filmstrip>("malan-filmstrip")?.preview());
  else if (event.key === "x") card.querySelector<HTMLInputElement>(".pick input")?.click();
  else if (event.key === "s") card.querySelector<HTMLElement>("[data-similar]")?.click();
}

function focus(target: HTMLElement | undefined, event: Event): void {
  if (!target) return;
  event.preventDefault();
  target.focus();
  target.scrollIntoView?.({ block: "nearest" });
}

function columnsOf(all: HTMLElement[]): number {
  const top = all[0]?.offsetTop;
  const next = all.findIndex((card) => card.offsetTop !== top);
  return next < 0 ? Math.max(1, all.length) : next;
}

function pick(event: Event): void {
  const box = event.target as HTMLInputElement;
  const card = box.closest?.<HTMLElement>(".card");
  if (!card || !box.closest(".pick")) return;
  const { clip = "", fragment = "", seconds = "0", asset = "", file = "" } = card.dataset;
  if (box.checked) picked.set(clip, { fragment, seconds: Number(seconds), asset, file });
  else picked.delete(clip);
  card.toggleAttribute("data-picked", box.checked);
  showTray();
}

function clearPicked(): void {
  picked.clear();
  for (const card of cards()) {
    card.removeAttribute("data-picked");
    const box = card.querySelector<HTMLInputElement>(".pick input");
    if (box) box.checked = false;
  }
  showTray();
}

function showTray(): void {
  document.body.classList.toggle("picking", picked.size > 0);
  let tray = document.querySelector<HTMLElement>(".tray");
  if (!picked.size) return tray?.remove();
  if (!tray) {
    tray = h("div", { class: "tray", role: "region", "aria-label": say("tray.label") });
    tray.append(
      h("span", { class: "what", role: "status" }),
      h("button", { type: "button", class: "button small", onclick: copyPicked }, say("tray.copy")),
      h("button", { type: "button", class: "button small", onclick: () => void save("edl") }, say("tray.edl")),
      h("button", { type: "button", class: "button small", onclick: () => void save("json") }, say("tray.json")),
      ...(document.body.dataset.cuts === undefined ? [] : [
        h("button", { type: "button", class: "button small primary", onclick: () => void exportPicked() }, say("tray.export"))]),
      h("button", { type: "button", class: "button small quiet", onclick: clearPicked }, say("tray.clear")));
    document.body.append(tray);
  }
  const total = [...picked.values()].reduce((sum, clip) => sum + clip.seconds, 0);
  tray.querySelector(".what")!.textContent = say("tray.what", { n: picked.size, length: lasting(total) });
}

function copyPicked(): void {
  void copyText([...picked.values()].map((clip) => clip.fragment).join("\n"), say("tray.copied", { n: picked.size }));
}

async function send(path: string, body: object): Promise<Response | null> {
  const reply = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  if (reply.ok) return reply;
  const { error } = (await reply.json()) as { error: { message: string; hint: string } };
  toast(`${error.message} ${error.hint}`);
  return null;
}

async function save(format: "edl" | "json"): Promise<void> {
  const reply = await send("/clips/list", { clip_ids: [...picked.keys()], format });
  if (!reply) return;
  const link = h("a", { href: URL.createObjectURL(await reply.blob()), download: `malan-clips.${format}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function exportPicked(): Promise<void> {
  const reply = await send("/clips/export", { clip_ids: [...picked.keys()] });
  if (!reply) return;
  const said = (await reply.json()) as { message: string };
  toast(said.message);
}
