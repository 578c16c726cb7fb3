// What a page of the server gets in the browser: times in the reader's zone, and tables that stack on a narrow screen.

// Times of records are in UTC; where the reader is, and in the language of the page, they say more.
const local = new Intl.DateTimeFormat(document.documentElement.lang === "en" ? "en-GB" : "zh-CN", { dateStyle: "medium", timeStyle: "short" });

/** Dress everything below a node; whatever is dressed already stays as it is. */
export function dress(root: ParentNode): void {
  for (const time of root.querySelectorAll<HTMLTimeElement>("time[datetime*=T]:not([title])")) tellLocally(time);
  for (const table of root.querySelectorAll<HTMLTableElement>("table.rows:not([data-stacks])")) nameCells(table);
}

function tellLocally(time: HTMLTimeElement): void {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) return;
  time.title = `${time.dateTime.slice(0, 19).replace("T", " ")} UTC`;
  time.textContent = local.format(at);
}

/** Each cell knows the heading of its column, which stands beside it where there is no room for columns. */
function nameCells(table: HTMLTableElement): void {
  const names = [...table.querySelectorAll("thead th")].map((head) => (head.querySelector(".visually-hidden") ? "" : (head.textContent ?? "").trim()));
  for (const row of table.tBodies[0]?.rows ?? []) [...row.cells].forEach((cell, at) => (cell.dataset.label = names[at] ?? ""));
  table.dataset.stacks = "";
}
