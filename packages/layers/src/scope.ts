/** Scopes of running modules: their place among the variables, their random keys, and the names of submodules. */
import { createHash } from "node:crypto";
import { random, TeError, Tensor } from "@te/tensor";
import { fail } from "@te/tensor/op";
import type { Axes, Module } from "./module.js";
import { checkName } from "./names.js";

/** Any collection, and what stands below a name in it. */
export interface Collection {
  [name: string]: Collection | Tensor | Axes | undefined;
}

/** What all scopes of one init or apply share. */
export interface Session {
  readonly variables: Collection;
  readonly rngs: Readonly<Record<string, Tensor>>;
  readonly initializing: boolean;
  readonly mutable: (collection: string) => boolean;
}

/** Where a module stands while it runs: its path in the variables, its counters for random draws and names. */
export class Scope {
  private readonly counters = new Map<string, number>();
  private readonly children = new Map<Module, Scope>();
  private readonly names = new Set<string>();
  private readonly autoNames = new Map<string, number>();

  constructor(
    readonly session: Session,
    readonly path: readonly string[],
  ) {}

  /** The scope of a submodule; the same one each time the same module is called. */
  child(module: Module, propertyName: string | undefined): Scope {
    let found = this.children.get(module);
    if (!found) {
      const name = module.name ?? propertyName ?? this.autoName(module.constructor.name);
      checkName(this.describe(), "the name of a submodule", name);
      if (this.names.has(name)) {
        throw new TeError("state", `${this.describe()}: two submodules are named "${name}". Give one another name.`);
      }
      this.names.add(name);
      found = new Scope(this.session, [...this.path, name]);
      this.children.set(module, found);
    }
    return found;
  }

  private autoName(className: string): string {
    const index = this.autoNames.get(className) ?? 0;
    this.autoNames.set(className, index + 1);
    return `${className}_${index}`;
  }

  /**
   * A fresh key from a stream: the root key folded with a hash of the path and of how many draws this scope made before,
   * as Flax does, so that a root key gives the same parameters. A missing stream falls back to "params".
   */
  makeRng(stream: string): Tensor {
    const source = this.session.rngs[stream] ? stream : "params";
    const root = this.session.rngs[source];
    if (!root) {
      throw new TeError(
        "option",
        `${this.describe()}: a key for the random stream "${stream}" is missing. Pass { rngs: { ${stream}: random.key(0) } }, or deterministic: true.`,
      );
    }
    const count = (this.counters.get(source) ?? 0) + 1;
    this.counters.set(source, count);
    return random.foldIn(root, pathHash(this.path, count));
  }

  /** A variable of this module. */
  get(collection: string, name: string): Collection[string] | undefined {
    return this.find(collection, name);
  }

  /** A variable of this module or, by more names, of one below it. */
  find(collection: string, ...names: string[]): Collection[string] | undefined {
    let node: Collection[string] | undefined = ownEntry(this.session.variables, collection);
    const seen = [collection];
    for (const part of [...this.path, ...names]) {
      if (node === undefined) return undefined;
      if (!isCollection(node))
        fail("state", this.describe(), `${seen.join("/")} must hold variables by name`, node, PASS_VARIABLES);
      node = ownEntry(node, part);
      seen.push(part);
    }
    return node;
  }

  set(collection: string, name: string, value: Collection[string]): void {
    const { variables, initializing, mutable } = this.session;
    if (!initializing && !mutable(collection)) {
      throw new TeError(
        "state",
        `${this.describe()}: collection "${collection}" may not change here. Pass { mutable: ["${collection}"] } to apply.`,
      );
    }
    checkName(this.describe(), "the name of a collection", collection);
    checkName(this.describe(), "the name of a variable", name);
    let node: Collection = variables;
    for (const part of [collection, ...this.path]) {
      const next = ownEntry(node, part) ?? {};
      if (!isCollection(next))
        fail("state", this.describe(), `a variable and a submodule are both named ${part}`, undefined, "Rename one.");
      node[part] = next;
      node = next;
    }
    node[name] = value;
  }

  describe(): string {
    return this.path.length ? this.path.join("/") : "module";
  }
}

/** What to do about variables that are missing or not those of the module. */
export const PASS_VARIABLES = "Pass the variables that init returned for this module.";

/** Whether a value is an object of variables by name. */
export const isCollection = (value: unknown): value is Collection =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Tensor);

/** An entry that the object has itself: names such as "constructor" are inherited by every object. */
const ownEntry = (of: Collection, name: string): Collection[string] | undefined =>
  Object.hasOwn(of, name) ? of[name] : undefined;

/** First four bytes of SHA-1 over the path and the counter in minimal big-endian bytes. */
export function pathHash(path: readonly string[], count: number): number {
  const hash = createHash("sha1");
  for (const part of path) hash.update(part, "utf8");
  const bytes: number[] = [];
  for (let rest = count; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return hash.update(Uint8Array.from(bytes)).digest().readUInt32BE(0);
}
