/** The class Module, which every layer extends: how it is called, and how its variables are made and found. */
import { type InspectOptions, inspect, isDeepStrictEqual } from "node:util";
import { splitParameter } from "@te/sharding";
import { type DType, evalShape, random, TeError, Tensor, tree } from "@te/tensor";
import { fail, isFloat, isStateCollection, markState, runTraced, UNCHANGING, withDefaults } from "@te/tensor/op";
import { checkMutable, expectVariables, isPlainObject, namedRngs, splitOptions } from "./apply-arguments.js";
import type { Initializer } from "./initializers.js";
import { checkName } from "./names.js";
import { type Collection, PASS_VARIABLES, Scope } from "./scope.js";
import type { ApplyArguments, InitArguments, MutableArguments, MutableResult, Rngs, Variables } from "./types.js";
import { compareVariables, type ExpectedVariables } from "./variables.js";

/** Logical names of a parameter's axes; null is an axis that is never split. */
export type Axes = readonly (string | null)[];

/** A variable outside of params. Assigning needs the collection to be mutable. */
export interface Variable<T = Tensor> {
  value: T;
}

/** `param` of a module, for functions that make parameters on its behalf. */
export type ParameterMaker = (
  name: string,
  init: Initializer,
  shape: readonly number[],
  options?: { readonly dtype?: DType; readonly axes?: Axes },
) => Tensor;

let active: Scope | undefined;

/**
 * A layer: options given to the constructor, variables made by `init`, and `call`, which reads them. Follows Flax Linen:
 * variables live outside of the module, in a tree whose paths are the names of submodules. A submodule is named by its
 * `name` option, else by the property of its parent that holds it, else by its class and a number. Bundlers that shorten
 * names rename classes, and with them variables and their initial values: a class keeps its name with
 * `static override readonly name: string = "…"`.
 */
export abstract class Module {
  readonly name: string | undefined;
  /** A static argument of jit: options are read once, when it is made. */
  readonly [UNCHANGING] = true;
  readonly #given: Readonly<Record<string, unknown>>;

  constructor(options: { name?: string | undefined } = {}) {
    if (typeof options !== "object" || options === null)
      fail("option", this.constructor.name, "options must be an object", options ?? String(options));
    const { name } = options;
    if (name !== undefined) checkName(this.constructor.name, "name", name);
    this.name = name;
    this.#given = options as Readonly<Record<string, unknown>>;
    const implementation = this.call;
    this.call = (...args: unknown[]) => {
      const atOptions = args.length > 1 && (this.optionsPosition ?? args.length - 1) === args.length - 1;
      if (this.callOptions && atOptions && args.at(-1) === null)
        fail("option", `${this.constructor.name}.call`, "options must be an object", "null", "Leave them out.");
      if (this.callOptions && isPlainObject(args.at(-1)))
        withDefaults(`${this.constructor.name}.call`, args.at(-1) as object, this.callOptions);
      return this.enter(() => implementation.apply(this, this.placeOptions(args) as never));
    };
  }

  /**
   * The options that the last argument of call may have, at their defaults. Others, and values of another kind than a
   * default that is a boolean, a function or an array, are an error. undefined: anything goes.
   */
  protected readonly callOptions: Readonly<Record<string, unknown>> | undefined;

  /**
   * Where among the arguments of call its options object stands, for modules with optional arguments before it. Options
   * that follow the last argument given are moved there: `apply(variables, x, { deterministic: true })`.
   */
  get optionsPosition(): number | undefined {
    return undefined;
  }

  private placeOptions(args: unknown[]): unknown[] {
    const position = this.optionsPosition;
    if (position === undefined || args.length === 0 || args.length > position || !isPlainObject(args.at(-1)))
      return args;
    const given = args.slice(0, -1);
    return [...given, ...Array(position - given.length).fill(undefined), args.at(-1)];
  }

  /** The computation. Inside it, `this.param`, `this.variable`, `this.makeRng` and calls of submodules are at hand. */
  abstract call(...args: any[]): any;

  /**
   * Makes the variables: runs `call` on the arguments, of which only shapes and dtypes matter, and keeps what it created.
   * `rngs` is one key or { params, dropout, … }. The same key gives the same parameters on every backend.
   */
  init(rngs: Rngs, ...args: InitArguments<this>): Variables {
    const { callArgs } = splitOptions(args);
    const keys = namedRngs(`${this.constructor.name}.init`, rngs);
    return runTraced(this.makeVariables, [keys, ...callArgs]) as Variables;
  }

  private readonly makeVariables = (keys: Readonly<Record<string, Tensor>>, ...args: unknown[]): Variables => {
    const variables: Variables = { params: {} };
    const session = { variables, rngs: keys, initializing: true, mutable: () => true };
    this.runIn(new Scope(session, []), args);
    return variables;
  };

  /**
   * Throws unless `variables` has the names and shapes that init would make for these arguments, which are those of init after
   * its key; nothing is computed. For weights from elsewhere, which apply takes as long as it finds what it reads: see
   * {@link checkVariables} for what is compared.
   */
  checkVariables(variables: Partial<Variables>, ...args: InitArguments<this>): void {
    const fn = `${this.constructor.name}.checkVariables`;
    const { callArgs } = splitOptions(args);
    const expected = evalShape(this.makeVariables, { params: random.key(0) }, ...callArgs);
    compareVariables(fn, expected as ExpectedVariables, variables);
  }

  /**
   * Runs `call` with these variables. The last argument may be an options object: `rngs` and `mutable` are for apply, the
   * others are passed on to call. With `mutable` the result is [result, changed collections].
   */
  apply(variables: Partial<Variables>, ...args: ApplyArguments<this>): ReturnType<this["call"]>;
  apply<C extends string>(variables: Partial<Variables>, ...args: MutableArguments<this, C>): MutableResult<this, C>;
  apply(variables: Partial<Variables>, ...args: unknown[]): unknown {
    const { callArgs, options } = splitOptions(args);
    const fn = `${this.constructor.name}.apply`;
    expectVariables(fn, variables);
    checkMutable(fn, options.mutable);
    const mutable = new Set(options.mutable ?? []);
    const own: Collection = { ...variables };
    for (const [name, collection] of Object.entries(variables)) if (isStateCollection(name)) markState(collection);
    for (const name of mutable)
      own[name] = (variables[name] ? tree.map((leaf) => leaf, variables[name]) : {}) as Collection;
    const session = {
      variables: own,
      rngs: options.rngs === undefined ? {} : namedRngs(fn, options.rngs),
      initializing: false,
      mutable: (name: string) => mutable.has(name),
    };
    const result = this.runIn(new Scope(session, []), callArgs);
    if (options.mutable === undefined) return result;
    return [result, Object.fromEntries([...mutable].map((name) => [name, own[name]!]))];
  }

  private runIn(scope: Scope, args: unknown[]): unknown {
    const outer = active;
    active = undefined;
    try {
      this.rootScope = scope;
      return this.call(...args);
    } finally {
      this.rootScope = undefined;
      active = outer;
    }
  }

  private rootScope: Scope | undefined;

  /** Runs `body` where `call` runs, among this module's variables: for methods of a module that are called beside it. */
  protected enter<T>(body: () => T): T {
    const parent = active;
    const scope = this.rootScope ?? parent?.child(this, propertyHolding(parentModule, this));
    if (!scope) {
      throw new TeError(
        "state",
        `${this.constructor.name}.call: a module runs inside init or apply. Use module.apply(variables, ...).`,
      );
    }
    const outerModule = parentModule;
    this.rootScope = undefined;
    active = scope;
    parentModule = this;
    try {
      return body();
    } finally {
      active = parent;
      parentModule = outerModule;
    }
  }

  /** The scope of the running call. */
  protected get scope(): Scope {
    return active ?? notRunning(this);
  }

  /** True while init makes the variables. */
  protected get initializing(): boolean {
    return this.scope.session.initializing;
  }

  /**
   * A trainable parameter, made by `init` on first use. `axes` are recorded in params_axes, and say how it and its gradient
   * are split under a mesh.
   */
  protected param(
    name: string,
    init: Initializer,
    shape: readonly number[],
    { dtype = "float32", axes = [] }: { dtype?: DType; axes?: Axes } = {},
  ): Tensor {
    const { scope } = this;
    if (axes.length && axes.length !== shape.length) {
      throw new TeError(
        "option",
        `${this.constructor.name}: the logical axes of ${name} must be ${shape.length} names for its shape [${shape.join(",")}], got [${axes.map(String).join(",")}].`,
      );
    }
    const found = scope.get("params", name);
    if (found === undefined) {
      if (!scope.session.initializing) missing(scope, "params", name);
      if (typeof init !== "function")
        fail("option", this.constructor.name, `the initializer of ${name} must be a function`, init ?? String(init));
      const made = init(scope.makeRng("params"), shape, dtype);
      if (!(made instanceof Tensor) || String(made.shape) !== String(shape)) {
        const rule = `the initializer of ${name} must give a tensor of shape [${shape}]`;
        fail("option", this.constructor.name, rule, made ?? String(made));
      }
      const placed = splitParameter(made, axes);
      scope.set("params", name, placed);
      scope.set("params_axes", name, axes);
      return placed;
    }
    if (!(found instanceof Tensor) || String(found.shape) !== String(shape)) {
      const rule = `${pathOf(scope, "params", name)} must have shape [${shape.join(",")}]`;
      const why = "The variables belong to a module with other options or to inputs of another size.";
      fail("shape", scope.describe(), rule, found, why);
    }
    if (isFloat(dtype) && !isFloat(found.dtype))
      fail("dtype", scope.describe(), `${pathOf(scope, "params", name)} must be floating`, found, PASS_VARIABLES);
    return splitParameter(found, axes);
  }

  /** "DenseGeneral { features: 4, useBias: true }": options that are not at their defaults, and submodules in properties. */
  toString(): string {
    return inspect(this, { breakLength: Number.POSITIVE_INFINITY });
  }

  [inspect.custom](depth: number, options: InspectOptions): string {
    const { name } = this.constructor;
    if (depth < 0) return `[${name}]`;
    const { defaults = {} } = this.constructor as { defaults?: Readonly<Record<string, unknown>> };
    const changed = Object.entries(this.#given).filter(([key, value]) => !isDeepStrictEqual(value, defaults[key]));
    const submodules = Object.entries(this).filter(
      ([, value]) => [value].flat().some((item) => item instanceof Module) && !changed.some(([, v]) => v === value),
    );
    return `${name} ${inspect(Object.fromEntries([...changed, ...submodules]), { ...options, depth })}`;
  }

  /** {@link param} as a function. */
  protected readonly parameters: ParameterMaker = (...args) => this.param(...args);

  /** A variable of another collection, made by `init` when it does not exist and the collection may change. */
  protected variable(collection: string, name: string, init: () => Tensor): Variable {
    const { scope } = this;
    if (scope.get(collection, name) === undefined) {
      if (!scope.session.initializing && !scope.session.mutable(collection)) missing(scope, collection, name);
      scope.set(collection, name, init());
    }
    const found = scope.get(collection, name);
    if (!(found instanceof Tensor))
      fail("state", scope.describe(), `${pathOf(scope, collection, name)} must be a tensor`, found, PASS_VARIABLES);
    return {
      get value() {
        return scope.get(collection, name) as Tensor;
      },
      set value(next: Tensor) {
        scope.set(collection, name, next);
      },
    };
  }

  protected hasVariable(collection: string, name: string): boolean {
    return this.scope.get(collection, name) !== undefined;
  }

  /** A fresh key of a random stream. */
  protected makeRng(stream: string): Tensor {
    return this.scope.makeRng(stream);
  }
}

let parentModule: Module | undefined;

/** The property of `parent` that holds the module: "dense", or "layers_2" for an element of an array. */
function propertyHolding(parent: Module | undefined, module: Module): string | undefined {
  for (const [key, value] of Object.entries(parent ?? {})) {
    if (value === module) return key;
    const index = Array.isArray(value) ? value.indexOf(module) : -1;
    if (index >= 0) return `${key}_${index}`;
  }
  return undefined;
}

function notRunning(module: Module): never {
  throw new TeError(
    "state",
    `${module.constructor.name}: variables exist only inside init or apply. Use module.apply(variables, ...).`,
  );
}

function missing(scope: Scope, collection: string, name: string): never {
  const hint = collection === "fp8_metas" ? "Call init inside the same fp8Autocast as apply." : PASS_VARIABLES;
  throw new TeError(
    "state",
    `${scope.describe()}: variable ${pathOf(scope, collection, name)} does not exist. ${hint}`,
  );
}

const pathOf = (scope: Scope, collection: string, name: string): string => [collection, ...scope.path, name].join("/");
