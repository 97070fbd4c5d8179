// HTML in which every value is escaped, because nothing else can be put into it. Pure.

/** Text that is safe to send: made by `html` alone. */
export class Html {
  readonly #text: string;
  /** @param parts of a template literal; the values between them are escaped here. */
  constructor(parts: TemplateStringsArray, values: readonly Value[]) {
    this.#text = parts.reduce((text, part, i) => text + textOf(values[i - 1]) + part);
  }
  toString(): string {
    return this.#text;
  }
}

/** What may stand in a template: text and numbers are escaped, absent ones leave nothing. */
export type Value = Html | string | number | undefined | readonly Value[];

/** For text between tags and for attributes in quotes: <a title="${reason}">${name}</a>. */
export const html = (parts: TemplateStringsArray, ...values: Value[]): Html => new Html(parts, values);

const ESCAPED: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function textOf(value: Value): string {
  if (value === undefined) return "";
  if (value instanceof Html) return value.toString();
  if (typeof value === "object") return value.map(textOf).join("");
  return String(value).replace(/[&<>"']/g, (character) => ESCAPED[character]!);
}
