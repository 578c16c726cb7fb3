// One short line at the bottom of the page, read aloud, gone after a moment.
import { h } from "./dom";
import { say } from "./words";

const SHOWN_MS = 2200;

export function toast(text: string): void {
  document.querySelector(".toast")?.remove();
  const line = h("div", { class: "toast", role: "status" }, text);
  document.body.append(line);
  setTimeout(() => line.remove(), SHOWN_MS);
}

export async function copyText(text: string, done: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    toast(done);
  } catch {
    toast(say("copy_failed"));
  }
}
