// What every page of the console loads: one small file, so that whatever is pressed first finds its listener there.
// Only the charts come later.
import "./styles/tokens.css";
import "./styles/shell.css";
import "./styles/search.css";
import "./styles/asset.css";
import "./styles/jobs.css";
import "./styles/account.css";
import "./styles/market.css";
import "./styles/apps.css";
import "./styles/board.css";
import "./styles/desk.css";
import "./styles/training.css";
import "./styles/admin.css";
import "./elements/filmstrip";
import "./elements/wave";
import "./elements/asset";
import "./elements/jobs";
import "./elements/storyboard";
import "./elements/desk";
import "htmx.org";
import { isTyping } from "./lib/dom";
import { dress } from "./lib/dress";
import { toast } from "./lib/toast";
import { say } from "./lib/words";
import { startSearch } from "./search";

const search = document.querySelector<HTMLFormElement>("form[role=search]");
if (search) startSearch(search);
if (document.querySelector(".live-count") && !document.querySelector("malan-jobs")) watchRunning();

for (const image of document.querySelectorAll<HTMLImageElement>(".shelf img")) image.addEventListener("error", () => image.remove(), { once: true });

// On a narrow screen the pages stand in a row that scrolls: where one is stays in sight.
const here = document.querySelector<HTMLElement>(".nav [aria-current]");
if (here?.parentElement) here.parentElement.scrollLeft = here.offsetLeft - here.parentElement.clientWidth / 2;

dress(document);
document.addEventListener("htmx:afterSettle", () => dress(document));
document.addEventListener("htmx:sendError", () => toast(say("no_answer")));

const keys = document.querySelector<HTMLDialogElement>("#keys");
document.querySelector(".help")?.addEventListener("click", () => keys?.showModal());
keys?.addEventListener("click", (event) => event.target === keys && keys.close());

document.addEventListener("keydown", (event) => {
  if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "?") keys?.showModal();
  if (event.key !== "/") return;
  event.preventDefault();
  const box = document.querySelector<HTMLInputElement>("input[type=search]");
  if (box) box.focus(), box.select();
  else location.assign("/");
});

document.addEventListener("malan-running", (event) => showRunning((event as CustomEvent<number>).detail));

function showRunning(running: number): void {
  const badge = document.querySelector<HTMLElement>(".live-count");
  if (!badge) return;
  badge.textContent = String(running);
  badge.hidden = running === 0;
}

/** Away from the jobs page the number of running jobs is asked for now and then, and only while the page is seen. */
function watchRunning(): void {
  const ask = async (): Promise<void> => {
    if (document.hidden) return;
    const reply = await fetch("/jobs/running.json").catch(() => null);
    if (reply?.ok) showRunning(((await reply.json()) as { running: number }).running);
  };
  void ask();
  setInterval(() => void ask(), 8000);
}
