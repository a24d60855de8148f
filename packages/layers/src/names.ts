/** Names that may stand in the path of a variable. */
import { expectString, fail } from "@te/tensor/op";

/**
 * Throws unless a module, variable, collection or random stream may have this name: a string that is not empty and has no
 * "/", which joins names to paths. `__proto__` is the prototype of a plain object rather than an entry of it.
 */
export function checkName(fn: string, what: string, name: unknown): void {
  if (typeof name === "string" && name !== "" && !name.includes("/") && name !== "__proto__") return;
  expectString("checkName", { what });
  fail("option", fn, `${what} must be a string without "/" that is neither empty nor __proto__`, name ?? String(name));
}
