/** Options that are one of a few texts. */
import { fail } from "@te/tensor/op";

/** The text in small letters; "" for what is no text, which no choice is called. */
export const lowerCase = (text: unknown): string => (typeof text === "string" ? text.toLowerCase() : "");

/** Throws for a value that is none of the choices. */
export function failChoice(fn: string, option: string, choices: string, value: unknown): never {
  fail(
    "option",
    fn,
    `${option} must be ${choices}`,
    typeof value === "string" ? `"${value}"` : (value ?? String(value)),
  );
}
