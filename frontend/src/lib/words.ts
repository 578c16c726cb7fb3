// The words of the page's language, sent with the page, and numbers as people write them.
import { pageData } from "./dom";

const words = pageData<Record<string, string>>("words") ?? {};
export const language = document.documentElement.lang || "en";

/** The sentence of a code; `{name}` is filled from the values. A code without words shows as itself. */
export function say(code: string, values: Record<string, string | number> = {}): string {
  const text = words[`web.js.${code}`] ?? code;
  return text.replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? "?"));
}

/** `0:12.480`, `1:02:03.5`: a time of the picture, `digits` after the point. */
export function clock(seconds: number, digits = 2): string {
  const unit = 10 ** digits;
  const total = Math.round(Math.max(0, seconds) * unit);
  const whole = Math.floor(total / unit);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const tail = digits ? `.${String(total % unit).padStart(digits, "0")}` : "";
  const short = `${String(minutes).padStart(hours ? 2 : 1, "0")}:${String(rest).padStart(2, "0")}${tail}`;
  return hours ? `${hours}:${short}` : short;
}

const plain = new Intl.NumberFormat(language);
export const count = (value: number): string => plain.format(value);

/** `2.4 s`, `3:20`: a length. */
export function lasting(seconds: number): string {
  return seconds < 60 ? say("seconds", { n: seconds.toFixed(seconds < 10 ? 1 : 0) }) : clock(seconds, 0);
}
