/** Scopes: values in force for a stretch of code and all that it awaits, and the key that they give to traces. */
import { AsyncLocalStorage } from "node:async_hooks";
import { fail } from "./errors.js";
import { expectFunction, expectString } from "./expect.js";

/** A value in force for a stretch of code, such as the FP8 recipe or the mesh. */
export interface Scope<T> {
  readonly name: string;
  /** The innermost value in force here, or undefined. */
  current(): T | undefined;
  /** Calls fn with the value in force, in everything it awaits and starts; returns what fn returns. */
  with<R>(value: T | undefined, fn: () => R): R;
  /**
   * Puts the value in force until the result is disposed: `using _ = scope.with(value)`. It holds across awaits of this
   * function. A caller that goes on while an async function waits sees the value too; tasks that run side by side
   * take the callback form.
   */
  with(value: T | undefined): Disposable;
}

interface Frame<T> {
  readonly value: T | undefined;
  /** key(value), computed once. */
  readonly key: string;
  readonly outer: Frame<T> | undefined;
  ended: boolean;
}

// The names and keys of every scope, read by traceContextKey.
const scopes = new Map<string, () => string>();

/**
 * Makes a scope. `key` tells values apart that make a traced function come out differently: it becomes part of the key
 * under which jit keeps programs.
 */
export function createScope<T>(name: string, key: (value: T | undefined) => string): Scope<T> {
  expectString("createScope", { name });
  expectFunction("createScope", { key });
  if (scopes.has(name)) fail("state", "createScope", "every scope needs a name of its own", name);
  const storage = new AsyncLocalStorage<Frame<T> | undefined>();
  const outsideKey = key(undefined);

  // A frame of `using` may have ended while a copy of the context still points to it.
  const live = (): Frame<T> | undefined => {
    let frame = storage.getStore();
    while (frame?.ended) frame = frame.outer;
    return frame;
  };

  function enter(frame: Frame<T>): Disposable {
    storage.enterWith(frame);
    return {
      [Symbol.dispose]() {
        frame.ended = true;
        storage.enterWith(live());
      },
    };
  }

  function withValue(value: T | undefined, fn?: () => unknown): unknown {
    if (fn !== undefined) expectFunction(name, { fn });
    const frame: Frame<T> = { value, key: key(value), outer: live(), ended: false };
    return fn ? storage.run(frame, fn) : enter(frame);
  }

  scopes.set(name, () => live()?.key ?? outsideKey);
  return {
    name,
    current: () => live()?.value,
    with: withValue as Scope<T>["with"],
  };
}

/** Everything in force that a trace may depend on, as a string; part of the key of jit's programs. */
export function traceContextKey(): string {
  let all = "";
  for (const [name, key] of scopes) {
    const found = key();
    if (found !== "") all += `${name}=${found.length}:${found};`;
  }
  return all;
}
