/** Checks of arguments that are no tensors, for every exported function: what is missing or of another kind is named. */
import { fail } from "./errors.js";

type Arguments = Readonly<Record<string, unknown>>;

function expectAll(fn: string, args: Arguments, called: string, has: (value: unknown) => boolean): void {
  if (typeof args !== "object" || args === null)
    fail("option", fn, "the arguments to check must be an object of values by name", args ?? String(args));
  for (const name of Object.keys(args))
    if (!has(args[name])) fail("option", fn, `${name} must be ${called}`, args[name] ?? String(args[name]));
}

/** Throws unless every value is an integer of at least 0. */
export const expectSize = (fn: string, args: Arguments): void =>
  expectAll(fn, args, "a non-negative integer", (value) => Number.isSafeInteger(value) && (value as number) >= 0);

/** Throws unless every value is an integer. */
export const expectWhole = (fn: string, args: Arguments): void =>
  expectAll(fn, args, "an integer", Number.isSafeInteger);

/** Throws unless every value is a number, NaN included. */
export const expectNumber = (fn: string, args: Arguments): void =>
  expectAll(fn, args, "a number", (value) => typeof value === "number");

/** Throws unless every value is a finite number. */
export const expectFinite = (fn: string, args: Arguments): void =>
  expectAll(fn, args, "a finite number", Number.isFinite);

/** Throws unless every value is a string. */
export const expectString = (fn: string, args: Arguments): void =>
  expectAll(fn, args, "a string", (value) => typeof value === "string");

/** Throws unless every value is a function. */
export const expectFunction = (fn: string, args: Arguments): void =>
  expectAll(fn, args, "a function", (value) => typeof value === "function");

/** Throws unless every value is an object. */
export const expectObject = (fn: string, args: Arguments): void =>
  expectAll(fn, args, "an object", (value) => typeof value === "object" && value !== null);

/** Throws unless every value is an array of `what`. */
export function expectArray(fn: string, what: string, args: Arguments): void {
  if (typeof what !== "string") expectString("expectArray", { what });
  expectAll(fn, args, `an array of ${what}`, Array.isArray);
}

/** Throws unless every value is an array without holes whose items `has` accepts. */
export function expectList(fn: string, what: string, args: Arguments, has: (item: unknown) => boolean): void {
  expectString("expectList", { what });
  expectFunction("expectList", { has });
  expectArray(fn, what, args);
  for (const [name, list] of Object.entries(args) as [string, readonly unknown[]][]) {
    // By index, because holes count.
    for (let i = 0; i < list.length; i++)
      if (!has(list[i])) fail("option", fn, `${name} must be an array of ${what}`, list);
  }
}

/** Throws unless every value is an array of strings. */
export const expectStrings = (fn: string, args: Arguments): void =>
  expectList(fn, "strings", args, (item) => typeof item === "string");

/** Throws unless every value is an array of numbers. */
export const expectNumbers = (fn: string, args: Arguments): void =>
  expectList(fn, "numbers", args, (item) => typeof item === "number");

/** Throws unless every value is a typed array. */
export const expectTyped = (fn: string, args: Arguments): void =>
  expectAll(fn, args, "a typed array", (value) => ArrayBuffer.isView(value) && "length" in value);
