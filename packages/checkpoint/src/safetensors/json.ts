/** Untrusted JSON: no key twice in one object, and no key that means a prototype. */
import { failFile } from "./format.js";

/** Parses JSON text, refusing duplicate and `__proto__` keys, which JSON.parse lets through. */
export function parseJson(where: string, what: string, text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    failFile(where, `${what} must be valid JSON`, (error as Error).message);
  }
  checkKeys(where, what, text);
  return value;
}

/** Walks over text that is known to be valid JSON and looks at the keys of every object. */
function checkKeys(where: string, what: string, text: string): void {
  const open: Set<string>[] = [];
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === "{") open.push(new Set());
    else if (character === "}") open.pop();
    else if (character === '"') {
      const end = endOfString(text, at);
      if (isKey(text, end)) {
        const key = JSON.parse(text.slice(at, end)) as string;
        const keys = open.at(-1)!;
        if (key === "__proto__") failFile(where, `no key of ${what} may be __proto__`);
        if (keys.has(key)) failFile(where, `every key of ${what} must occur once`, JSON.stringify(key));
        keys.add(key);
      }
      at = end - 1;
    }
  }
}

/** The index after the closing quote of the string that begins at `start`. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}

function isKey(text: string, from: number): boolean {
  let at = from;
  while (text[at] === " " || text[at] === "\n" || text[at] === "\r" || text[at] === "\t") at++;
  return text[at] === ":";
}
