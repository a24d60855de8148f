/** From the text of a rule and the shapes of a call to the rule of that call. */
import { type Aval, formatAval } from "../aval.js";
import { fail } from "../errors.js";
import { inferShapes, inputNames, nameInputs, type OpDefinition, type Params } from "../op.js";
import { completeParams, expectDefined } from "../op-check.js";
import type { Factor, Operand, Rule, RuleText } from "./rule.js";

/** An entry of a term: the factors of an axis, its length, leading axes, or any axes. */
type Entry = readonly string[] | number | "..." | "*";
type Term = readonly Entry[];
/** An axis once its place is known: its factors, or its length. */
type Axis = readonly string[] | number;

/** A factor of a leading axis, counted from the first of the longest operand. */
const leading = (index: number): string => `...${index}`;
const isLeading = (name: string): boolean => name.startsWith("...");

/**
 * The rule of one call: how it may be split, from the shapes of its inputs (optional ones may be undefined) and its
 * parameters. Throws TeError where the op does not take them, and where its rule does not fit the shapes.
 */
export function shardingRule(op: OpDefinition, inputs: readonly (Aval | undefined)[], params?: Params): Rule {
  expectDefined("shardingRule", op);
  const complete = completeParams(op, params);
  const outputs = inferShapes(op, inputs, complete);
  const written = op.sharding!(nameInputs(op, inputs), complete);
  if (typeof written?.text !== "string")
    fail("state", op.name, "sharding must give what rule() makes", written ?? String(written));
  const names = inputNames(op, inputs.length);
  return new Reader(op.name, written).read(
    names.map((_, i) => inputs[i]),
    outputs,
  );
}

class Reader {
  private readonly sizes: Map<string, number>;

  constructor(
    private readonly fn: string,
    private readonly written: RuleText,
  ) {
    this.sizes = new Map(Object.entries(written.sizes));
  }

  read(inputs: readonly (Aval | undefined)[], outputs: readonly Aval[]): Rule {
    const terms = this.parse(inputs.length, outputs.length);
    this.checkOptions(terms.flat());
    const avals = [...inputs, ...outputs];
    const placed = this.place(terms, avals);
    this.measure(placed, avals);
    const operands = placed.map((axes, i) => axes && this.operand(axes, avals[i]!));
    return {
      inputs: operands.slice(0, inputs.length),
      outputs: operands.slice(inputs.length) as Operand[],
      factors: this.factors(operands, operands.slice(inputs.length) as Operand[]),
    };
  }

  private refuse(what: string, value?: unknown): never {
    return fail("state", this.fn, `the sharding rule "${this.written.text}" ${what}`, value);
  }

  /** The terms of all inputs, then of all outputs. */
  private parse(inputs: number, outputs: number): Term[] {
    const sides = this.written.text.split("->").map((side) => side.split(",").map((term) => this.parseTerm(term)));
    const [left = [], right] = sides;
    if (!right && left.length === 1) return new Array<Term>(inputs + outputs).fill(left[0]!);
    if (!right || sides.length > 2) this.refuse("must be one term, or terms of inputs -> terms of outputs");
    // No text between the ends is one empty term, or none.
    const given = inputs === 0 && left.length === 1 && left[0]!.length === 0 ? [] : left;
    if (given.length !== inputs)
      this.refuse(`must have ${inputs} terms before the arrow, one for each input`, given.length);
    if (right.length !== outputs) this.refuse(`must have ${outputs} terms after the arrow`, right.length);
    return [...given, ...right];
  }

  private parseTerm(text: string): Term {
    const entries: Entry[] = [];
    const rest = text.replace(/\.\.\.|\*|\d+\b|[A-Za-z_]\w*|\(([^()]*)\)/g, (entry, product?: string) => {
      if (product !== undefined) entries.push(product.split(/\s+/).filter((name) => name !== ""));
      else if (entry === "..." || entry === "*") entries.push(entry);
      else entries.push(/^\d/.test(entry) ? Number(entry) : [entry]);
      return " ";
    });
    if (rest.trim() !== "") this.refuse(`cannot be read at "${rest.trim()}" of the term "${text.trim()}"`);
    const names = entries.flatMap((entry) => (Array.isArray(entry) ? entry : []));
    const odd = names.find((name, i) => !/^[A-Za-z_]\w*$/.test(name) || names.indexOf(name) !== i);
    if (odd !== undefined) this.refuse(`must name each factor once in the term "${text.trim()}"`, odd);
    if (entries.filter((entry) => entry === "...").length > 1)
      this.refuse(`may say "..." once in the term "${text.trim()}"`);
    if (entries.includes("*") && entries.length > 1) this.refuse(`must have "*" alone in the term "${text.trim()}"`);
    return entries;
  }

  private checkOptions(entries: readonly Entry[]): void {
    const known = new Set(entries.flatMap((entry) => (typeof entry === "number" ? [] : entry)));
    const { whole, together, composed, reduce, sizes } = this.written;
    for (const name of [...whole, ...together, ...composed, ...Object.keys(reduce), ...Object.keys(sizes)])
      if (!known.has(name)) this.refuse("must hold every factor that its options name", name);
  }

  /** One entry for each axis: leading axes get factors, counted from the right. */
  private place(terms: readonly Term[], avals: readonly (Aval | undefined)[]): (Axis[] | undefined)[] {
    const open = (term: Term, i: number): number =>
      avals[i] && term.includes("...") ? avals[i].shape.length - (term.length - 1) : 0;
    const most = Math.max(0, ...terms.map(open));
    return terms.map((term, i) => {
      const of = avals[i];
      if (!of) return undefined;
      const lead = open(term, i);
      const axes = term.flatMap((entry): Axis[] => {
        if (entry === "*") return [...of.shape];
        if (entry !== "...") return [entry];
        return Array.from({ length: Math.max(lead, 0) }, (_, k) => [leading(most - lead + k)]);
      });
      if (axes.length === of.shape.length) return axes;
      const shown = i < avals.length ? this.show(term) : "";
      return this.refuse(`must have an entry for each axis in the term "${shown}"`, formatAval(of));
    });
  }

  private show(term: Term): string {
    return term
      .map((e) => (typeof e === "object" ? (e.length === 1 ? e[0] : `(${e.join(" ")})`) : String(e)))
      .join(" ");
  }

  /** Finds the size of every factor: from axes of one, then from products with one that is not known yet. */
  private measure(placed: readonly (Axis[] | undefined)[], avals: readonly (Aval | undefined)[]): void {
    let axes = placed.flatMap((all, i) =>
      (all ?? []).map((axis, k) => ({ axis, length: avals[i]!.shape[k]!, of: avals[i]! })),
    );
    for (let before = Number.POSITIVE_INFINITY; axes.length < before; ) {
      before = axes.length;
      axes = axes.filter(({ axis, length, of }) => !this.settle(axis, length, of));
    }
    if (axes.length > 0) this.refuse("needs sizes for the factors of a product", formatAval(axes[0]!.of));
  }

  /** Whether every factor of the axis has a size now. */
  private settle(axis: Axis, length: number, of: Aval): boolean {
    const wrong = (what: string): never => this.refuse(what, formatAval(of));
    if (typeof axis === "number") return axis === length || wrong(`wants an axis of length ${axis}`);
    const [name] = axis;
    if (axis.length === 1 && isLeading(name!)) {
      const size = this.sizes.get(name!) ?? 1;
      if (size === 1) this.sizes.set(name!, length);
      return length === 1 || size === 1 || size === length || wrong(`wants ${size} elements along ${name}`);
    }
    const unknown = axis.filter((factor) => !this.sizes.has(factor));
    if (unknown.length > 1) return false;
    const product = axis.reduce((n, factor) => n * (this.sizes.get(factor) ?? 1), 1);
    if (unknown.length === 0) return product === length || wrong(`wants ${product} elements along ${axis.join(" ")}`);
    if (length % product !== 0) wrong(`wants a multiple of ${product} elements along ${axis.join(" ")}`);
    this.sizes.set(unknown[0]!, length / product);
    return true;
  }

  private operand(axes: readonly Axis[], { shape }: Aval): Operand {
    const dims = axes.map((axis, i) => {
      if (typeof axis === "number") return [];
      // An axis of length 1 is repeated along a longer one: each part has all of it.
      return isLeading(axis[0] ?? "") && shape[i] !== this.sizes.get(axis[0]!) ? [] : axis;
    });
    return { shape, dims };
  }

  private factors(all: readonly (Operand | undefined)[], outputs: readonly Operand[]): Record<string, Factor> {
    const { written } = this;
    const names = new Set(all.flatMap((operand) => operand?.dims.flat() ?? []));
    return Object.fromEntries(
      [...names].map((name) => {
        const option = isLeading(name) ? "..." : name;
        const isKept = outputs.every(({ dims }) => dims.some((factors) => factors.includes(name)));
        const size = this.sizes.get(name)!;
        if (written.composed.includes(option)) return [name, { size, split: "whole", isComposed: true }];
        const marked = (["whole", "together"] as const).find((mark) => written[mark].includes(option));
        return [name, { size, split: marked ?? (isKept ? "free" : (written.reduce[option] ?? "sum")) }];
      }),
    );
  }
}
