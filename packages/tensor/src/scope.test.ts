/** Scopes: values in force nest, follow awaits, restore after errors, and are part of the keys of jit. */
import { setImmediate as later } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { TeError } from "./errors.js";
import { createScope, traceContextKey } from "./scope.js";

let count = 0;
const letters = () => createScope<string>(`letters${count++}`, (value) => value ?? "");

describe("createScope", () => {
  it("nests and restores, also after an error", () => {
    const scope = letters();
    expect(scope.current()).toBeUndefined();
    scope.with("a", () => {
      expect(scope.with("b", () => scope.current())).toBe("b");
      expect(scope.current()).toBe("a");
      expect(() =>
        scope.with("c", () => {
          throw new Error("no");
        }),
      ).toThrow("no");
      expect(scope.current()).toBe("a");
    });
    expect(scope.current()).toBeUndefined();
  });

  it("hides the outer value behind an entered undefined", () => {
    const scope = letters();
    scope.with("a", () => {
      expect(scope.with(undefined, () => scope.current())).toBeUndefined();
      expect(scope.current()).toBe("a");
    });
  });

  it("follows awaits of two tasks that take turns", async () => {
    const scope = letters();
    const seen: string[] = [];
    const task = (value: string) =>
      scope.with(value, async () => {
        for (let i = 0; i < 3; i++) {
          await later();
          seen.push(`${value}${scope.current()}`);
        }
        return value;
      });
    const both = Promise.all([task("a"), task("b")]);
    expect(scope.current()).toBeUndefined();
    expect(await both).toEqual(["a", "b"]);
    expect(seen).toEqual(["aa", "bb", "aa", "bb", "aa", "bb"]);
    expect(scope.current()).toBeUndefined();
  });

  it("ends with the block of `using`", () => {
    const scope = letters();
    {
      using _outer = scope.with("a");
      {
        using _inner = scope.with("b");
        expect(scope.current()).toBe("b");
      }
      expect(scope.current()).toBe("a");
      expect(scope.with("c", () => scope.current())).toBe("c");
    }
    expect(scope.current()).toBeUndefined();
  });

  it("keeps the value of `using` across awaits and leaves nothing behind", async () => {
    const scope = letters();
    const task = async (value: string, turns: number) => {
      using _ = scope.with(value);
      for (let i = 0; i < turns; i++) {
        await later();
        expect(scope.current()).toBe(value);
      }
    };
    await scope.with("outer", async () => {
      await task("a", 2);
      expect(scope.current()).toBe("outer");
      await Promise.all([task("b", 3), task("c", 1)]);
      expect(scope.current()).toBe("outer");
    });
    await Promise.all([task("d", 1), task("e", 3)]);
    expect(scope.current()).toBeUndefined();
  });

  it("bears disposal in the wrong order and twice", () => {
    const scope = letters();
    const a = scope.with("a");
    const b = scope.with("b");
    a[Symbol.dispose]();
    expect(scope.current()).toBe("b");
    b[Symbol.dispose]();
    b[Symbol.dispose]();
    expect(scope.current()).toBeUndefined();
  });

  it("puts keys into the trace context", () => {
    const scope = letters();
    const outside = traceContextKey();
    const inA = scope.with("a", traceContextKey);
    expect(inA).not.toBe(outside);
    expect(scope.with("b", traceContextKey)).not.toBe(inA);
    expect(scope.with("a", traceContextKey)).toBe(inA);
    expect(traceContextKey()).toBe(outside);
  });

  it("rejects a name that is taken", () => {
    const scope = letters();
    expect(() => createScope(scope.name, () => "")).toThrow(TeError);
  });
});
