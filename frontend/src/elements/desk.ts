// <malan-desk>: keys for the reviewer, and the frame around what was found in the picture. The page works without it.
import { isTyping } from "../lib/dom";

class Desk extends HTMLElement {
  connectedCallback(): void {
    document.addEventListener("keydown", this.key);
    this.frame();
    this.querySelector<HTMLElement>("[aria-current=true]")?.scrollIntoView({ block: "nearest" });
    const who = this.querySelector<HTMLInputElement>("#by");
    if (!who) return;
    who.value ||= sessionStorage.getItem("malan-reviewer") ?? "";
    this.querySelector("form.decide")?.addEventListener("submit", () => sessionStorage.setItem("malan-reviewer", who.value));
  }

  disconnectedCallback(): void {
    document.removeEventListener("keydown", this.key);
  }

  private frame(): void {
    const shown = this.querySelector<HTMLElement>(".shown[data-box]");
    if (!shown) return;
    const [left, top, width, height] = shown.dataset.box!.split(" ");
    const box = document.createElement("i");
    Object.assign(box.style, { left: `${left}%`, top: `${top}%`, width: `${width}%`, height: `${height}%` });
    shown.append(box);
  }

  private key = (event: KeyboardEvent): void => {
    if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const press = (choice: string): void => this.querySelector<HTMLButtonElement>(`.decide [value=${choice}]`)?.click();
    const reason = this.querySelector<HTMLTextAreaElement>("#reason");
    const until = this.querySelector<HTMLInputElement>("#until");
    const act = {
      j: () => this.querySelector<HTMLElement>("[data-after][href]")?.click(),
      k: () => this.querySelector<HTMLElement>("[data-before][href]")?.click(),
      c: () => press("confirm"),
      r: () => (reason?.value.trim() ? press("reject") : reason?.focus()),
      w: () => (!reason?.value.trim() ? reason?.focus() : until?.value ? press("waive") : until?.focus()),
    }[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  };
}

customElements.define("malan-desk", Desk);
