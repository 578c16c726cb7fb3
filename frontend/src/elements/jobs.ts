// <malan-jobs>: the list of jobs, live. The server sends the whole page's data when something changed; rows are kept
// by id and only what differs is touched, so nothing flickers and focus stays where it is.
import { h, icon, pageData } from "../lib/dom";
import type { JobRow, JobsPage, RefusedRow } from "../lib/models";
import { toast } from "../lib/toast";
import { count, lasting, say } from "../lib/words";
import type { ThroughputBars } from "../lib/curve";

const ICONS: Record<JobRow["state"], string> = { queued: "clock", running: "spinner", done: "check", failed: "alert", cancelled: "stop" };

export class JobList extends HTMLElement {
  private rows = new Map<string, HTMLElement>();
  private list = h("div", { class: "panel", role: "list" });
  private refused = h("section", { class: "refused" });
  private empty = h("div");
  private chart: ThroughputBars | null = null;
  private source: EventSource | null = null;

  connectedCallback(): void {
    this.replaceChildren(this.list, this.empty, this.refused);
    const page = pageData<JobsPage>("jobs");
    if (page) this.show(page);
    const live = document.querySelector<HTMLElement>(".link-state");
    this.source = new EventSource("/jobs/events");
    this.source.addEventListener("jobs", (event) => this.show(JSON.parse((event as MessageEvent<string>).data) as JobsPage));
    this.source.addEventListener("open", () => this.live(live, true));
    this.source.addEventListener("error", () => this.live(live, false));
    addEventListener("pagehide", () => this.source?.close());
  }

  disconnectedCallback(): void {
    this.source?.close();
  }

  private live(mark: HTMLElement | null, isLive: boolean): void {
    if (!mark) return;
    mark.toggleAttribute("data-live", isLive);
    mark.textContent = say(isLive ? "jobs.live" : "jobs.waiting");
  }

  private show(page: JobsPage): void {
    const seen = new Set(page.jobs.map((job) => job.id));
    for (const [id, row] of this.rows) if (!seen.has(id)) (row.remove(), this.rows.delete(id));
    page.jobs.forEach((job, n) => {
      const row = this.row(job);
      if (this.list.children[n] !== row) this.list.insertBefore(row, this.list.children[n] ?? null);
    });
    this.list.hidden = page.jobs.length === 0;
    this.empty.replaceChildren(...(page.jobs.length ? [] : [emptyState()]));
    this.showRefused(page.refused, page.refused_total);
    void this.showChart(page.throughput);
    document.dispatchEvent(new CustomEvent("malan-running", { detail: page.running }));
  }

  private row(job: JobRow): HTMLElement {
    const made = this.rows.get(job.id);
    const text = JSON.stringify(job);
    if (made?.dataset.shown === text) return made;
    const row = made ?? h("div", { class: "job", role: "listitem", "data-job": job.id });
    row.dataset.shown = text;
    this.rows.set(job.id, row);
    if (made && row.dataset.state === job.state && !job.error) this.update(row, job);
    else row.replaceChildren(...this.parts(job));
    row.dataset.state = job.state;
    return row;
  }

  private update(row: HTMLElement, job: JobRow): void {
    row.querySelector(".sub")!.textContent = subtitle(job);
    const fresh = this.progress(job);
    const [bar, freshBar] = [row.querySelector<HTMLElement>(".track i"), fresh.querySelector<HTMLElement>(".track i")];
    if (bar && freshBar) bar.style.transform = freshBar.style.transform;
    row.querySelector(".track")?.classList.toggle("unknown", job.total === 0);
    row.querySelector("[role=progressbar]")?.setAttribute("aria-valuenow", String(job.done));
    row.querySelector("[role=progressbar]")?.setAttribute("aria-valuemax", String(job.total));
    row.querySelector(".numbers")!.replaceWith(fresh.querySelector(".numbers")!);
  }

  private parts(job: JobRow): HTMLElement[] {
    const mark = h("span", { class: "state-icon", title: say(`state.${job.state}`) }, icon(ICONS[job.state]));
    const words = h("div", { class: "grow" }, h("div", { class: "title" }, job.title), h("div", { class: "sub" }, subtitle(job)));
    const buttons = h("div", { class: "actions" },
      job.can_retry ? this.button("jobs.retry", job, "retry") : null,
      job.can_cancel ? this.button("jobs.cancel", job, "cancel") : null);
    const parts = [mark, words, this.progress(job), buttons];
    if (job.error) parts.push(h("div", { class: "error notice" }, icon("alert"), h("div", {}, h("p", {}, job.error.message), h("p", {}, job.error.hint))));
    return parts;
  }

  private progress(job: JobRow): HTMLElement {
    const share = job.state === "done" ? 1 : job.total ? job.done / job.total : 0;
    const bar = h("i");
    if (job.total || job.state !== "running") bar.style.transform = `scaleX(${share})`;
    const track = h("div", { class: job.total || job.state !== "running" ? "track" : "track unknown", role: "progressbar", "aria-label": job.title, "aria-valuemin": 0, "aria-valuemax": job.total, "aria-valuenow": job.done }, bar);
    const amount = job.unit === "%" ? `${Math.round((100 * job.done) / (job.total || 1))} %` : job.total ? say("jobs.of", { done: count(job.done), total: count(job.total), unit: job.unit }) : job.done ? `${count(job.done)} ${job.unit}` : "";
    return h("div", { class: "progress" }, track, h("div", { class: "numbers" }, h("span", {}, amount), h("span", {}, job.seconds ? lasting(job.seconds) : "")));
  }

  private button(label: string, job: JobRow, verb: string): HTMLButtonElement {
    const act = async (): Promise<void> => {
      const reply = await fetch(`/jobs/${encodeURIComponent(job.id)}/${verb}`, { method: "POST" });
      if (reply.ok) return;
      const { error } = (await reply.json()) as { error: { message: string } };
      toast(error.message);
    };
    return h("button", { type: "button", class: "button small", onclick: () => void act() }, say(label));
  }

  private showRefused(rows: RefusedRow[], total: number): void {
    const text = JSON.stringify([total, rows]);
    if (this.refused.dataset.shown === text) return;
    this.refused.dataset.shown = text;
    this.refused.hidden = rows.length === 0;
    this.refused.replaceChildren(
      h("h2", {}, say("jobs.refused", { n: count(total) })),
      h("ul", { class: "panel" }, ...rows.map((row) => h("li", {},
        h("div", { class: "path" }, row.path),
        h("div", { class: "why" }, h("p", {}, row.message), h("p", {}, row.hint))))));
  }

  private async showChart(bars: [string, number][]): Promise<void> {
    const box = document.querySelector<HTMLElement>(".jobs-head .chart");
    const frame = box?.closest<HTMLElement>(".chart-box");
    if (!box || !frame) return;
    frame.hidden = !bars.some(([, value]) => value > 0);
    if (frame.hidden) return;
    const { ThroughputBars } = await import("../lib/curve");
    this.chart ??= new ThroughputBars(box);
    this.chart.show(bars);
  }
}

function subtitle(job: JobRow): string {
  return [say(`state.${job.state}`), job.detail, job.started].filter(Boolean).join(" · ");
}

function emptyState(): HTMLElement {
  return h("div", { class: "empty" }, icon("jobs"), h("h2", {}, say("jobs.empty")), h("p", {}, say("jobs.empty_hint")), h("pre", {}, "malan asset add ~/Videos\nmalan asset scan"));
}

customElements.define("malan-jobs", JobList);
