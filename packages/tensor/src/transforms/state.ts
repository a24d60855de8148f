/**
 * State: values whose "gradient" is not a derivative but their value after the step, such as the scales and histories
 * of FP8. Where a derivative adds the cotangents of all uses, state follows its rule: what the uses saw is combined,
 * and one step is taken from it. State that no gradient reaches keeps its value.
 */

import { full } from "../create.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { expectFunction, expectObject } from "../expect.js";
import { formatParams, inputNames, nameInputs, nameOutputs } from "../op.js";
import type { Tensor } from "../tensor.js";
import { currentTrace, type Trace, type TraceNode } from "../trace.js";
import { flatten } from "../tree.js";

type Named = Readonly<Record<string, Tensor>>;

/** How a state, a record of tensors that change together, goes on. */
export interface StateRule<State extends Named = Named, Seen extends Named = Named> {
  /** Equal for equal rules: the uses of a state within a step must agree on it. */
  readonly name: string;
  /** What two uses saw, as one. Associative and commutative. */
  combine(a: Seen, b: Seen): Seen;
  /** The state after a step that saw `seen`. */
  next(state: State, seen: Seen): State;
}

/** One use of a state within a step. */
export interface StateUse {
  readonly rule: StateRule;
  readonly state: Named;
  readonly seen: Named;
}

/** A tensor of the state after a use. */
export interface NextState {
  readonly use: StateUse;
  readonly name: string;
}

const collections = new Set<string>();

/** Makes the name of a collection of variables known as one of state: what lies under it in a tree has no derivative. */
export function declareStateCollection(name: string): void {
  collections.add(name);
}

export const isStateCollection = (name: string): boolean => collections.has(name);

/** Marks the tensors of a tree as state of the running trace: where no gradient reaches them they keep their value. */
export function markState(tree: unknown): void {
  const trace = currentTrace();
  if (!trace) return;
  for (const leaf of flatten(tree)[0] as Tensor[]) if (leaf?.trace === trace) trace.stateMarks.add(leaf);
}

/**
 * rule.next(state, seen): what the backward function of a customVjp returns as the cotangent of its state. Where a state
 * is used more than once in a step these are not added: the uses are combined by the rule.
 */
export function stateAfter<State extends Named, Seen extends Named>(
  rule: StateRule<State, Seen>,
  state: State,
  seen: Seen,
): State {
  expectObject("stateAfter", { rule, state, seen });
  expectFunction("stateAfter", { "rule.next": rule.next, "rule.combine": rule.combine });
  const next = rule.next(state, seen);
  const trace = currentTrace();
  if (trace) {
    const use: StateUse = { rule: rule as unknown as StateRule, state, seen };
    for (const [name, tensor] of Object.entries(next)) trace.nextStates.set(tensor, { use, name });
  }
  return next;
}

/** What a backward pass found out about state. */
export interface StateFlow {
  readonly uses: StateUse[];
  /** Cotangents that customVjp gave for its arguments and that are not from {@link stateAfter}. */
  readonly given: (readonly [arg: Tensor, next: Tensor])[];
}

/** The cotangents that a region gave for its arguments, without those that are next values of state: these join `flow`. */
export function takeStates(
  trace: Trace,
  args: readonly Tensor[],
  grads: readonly (Tensor | undefined)[],
  flow: StateFlow,
): (Tensor | undefined)[] {
  const uses = new Map<StateUse, Record<string, Tensor>>();
  const rest = grads.map((grad, k) => {
    if (!grad) return undefined;
    const next = trace.nextStates.get(grad);
    if (!next) {
      flow.given.push([args[k]!, grad]);
      return grad;
    }
    const state = uses.get(next.use) ?? { ...next.use.state };
    uses.set(next.use, state);
    state[next.name] = args[k]!; // the use may come from a gradient inside of the region, in names of its own
    return undefined;
  });
  for (const [use, state] of uses) flow.uses.push({ ...use, state });
  return rest;
}

/**
 * The state among `wrt`, each with its value after the step.
 *
 * @param named those of `wrt` that are state by the name of their collection
 * @param active values that depend on `wrt` in a way that has a derivative
 */
export function nextStates(
  trace: Trace,
  start: number,
  wrt: readonly Tensor[],
  named: ReadonlySet<Tensor>,
  active: ReadonlySet<Tensor>,
  flow: StateFlow,
): Map<Tensor, Tensor> {
  const next = new Map<Tensor, Tensor>();
  for (const leaf of named) next.set(leaf, leaf);
  if (flow.uses.length === 0 && trace.stateMarks.size === 0 && (named.size === 0 || flow.given.length === 0))
    return next;
  const origins = new Origins(trace, start, new Set(wrt));
  for (const mark of trace.stateMarks) for (const leaf of origins.leavesOf(origins.of(mark))) next.set(leaf, leaf);
  const steps = [...combineUses(origins, active, flow.uses), ...replacements(origins, next, flow.given)];
  const taken = new Map<Tensor, string>();
  for (const { rule, state, seen } of steps) {
    const after = rule.next(state, seen);
    for (const [name, tensor] of Object.entries(state)) {
      const other = taken.get(tensor);
      if (other !== undefined)
        fail("state", "grad", `a state must follow one rule within a step, ${other}`, rule.name, STATE_WAY_OUT);
      taken.set(tensor, rule.name);
      origins.deliver(tensor, after[name]!, next);
    }
    // Where this gradient is taken inside of a customVjp, its results go on as uses of the arguments there.
    const use: StateUse = { rule, state, seen };
    for (const [name, tensor] of Object.entries(state)) {
      const delivered = next.get(tensor);
      if (delivered) trace.nextStates.set(delivered, { use, name });
    }
  }
  return next;
}

const STATE_WAY_OUT = "Use one recipe for all uses of a layer, or give each use variables of its own.";

/** The uses of states that are among the leaves or moved from there, one per state. */
function combineUses(origins: Origins, active: ReadonlySet<Tensor>, uses: readonly StateUse[]): StateUse[] {
  const combined = new Map<string, StateUse>();
  for (const use of uses) {
    const state = Object.fromEntries(Object.entries(use.state).map(([name, t]) => [name, origins.of(t)]));
    const members = Object.values(state);
    for (const t of members) {
      if (origins.leavesOf(t).length === 0 && active.has(t))
        fail("state", "grad", "a state must reach its use as it is, whole or in parts, not computed from", t);
    }
    if (!members.some((t) => origins.leavesOf(t).length > 0)) continue;
    const key = `${use.rule.name}|${members.map((t) => origins.idOf(t)).join(",")}`;
    const before = combined.get(key);
    combined.set(key, { ...use, state, seen: before ? use.rule.combine(before.seen, use.seen) : use.seen });
  }
  return [...combined.values()];
}

/** States whose next value a customVjp computed by itself: taken as it is, so that there may be one use in a step. */
function replacements(origins: Origins, states: ReadonlyMap<Tensor, Tensor>, given: StateFlow["given"]): StateUse[] {
  const found: StateUse[] = [];
  for (const [arg, value] of given) {
    const state = origins.of(arg);
    if (origins.of(value) === state || !origins.leavesOf(state).some((leaf) => states.has(leaf))) continue;
    const rule: StateRule = { name: "replace", combine: (a) => a, next: (_, seen) => seen };
    found.push({ rule, state: { value: state }, seen: { value } });
  }
  return found;
}

/**
 * Where tensors of a trace were moved from: through ops that only move elements back to the leaves. Equal moves of equal
 * tensors, by equal indices, are one tensor here, so that two reads of the same part are known as such.
 */
class Origins {
  private readonly producers = new Map<Tensor, { node: TraceNode; output: number }>();
  private readonly known = new Map<Tensor, Tensor>();
  private readonly moved = new Map<string, Tensor>();
  private readonly ids = new Map<Tensor, number>();

  constructor(
    trace: Trace,
    start: number,
    private readonly leaves: ReadonlySet<Tensor>,
  ) {
    for (let i = start; i < trace.nodes.length; i++) {
      const node = trace.nodes[i]!;
      node.outputs.forEach((out, output) => {
        if (node.region || node.op.moves || !isFloat(out.dtype)) this.producers.set(out, { node, output });
      });
    }
  }

  /** The one tensor that stands for t and for all that are moved from the same place in the same way. */
  of(t: Tensor): Tensor {
    // Operands first, and without recursion: moves may follow each other through all of a program.
    const waiting = [t];
    for (let at = waiting.at(-1); at !== undefined; at = waiting.at(-1)) {
      const unknown = this.known.has(at) ? [] : this.sourcesOf(at).filter((source) => !this.known.has(source));
      for (const source of unknown) waiting.push(source);
      if (unknown.length > 0) continue;
      if (!this.known.has(at)) this.known.set(at, this.find(at));
      waiting.pop();
    }
    return this.known.get(t)!;
  }

  /** What decides where t is from; nothing where it is from nowhere else. */
  private sourcesOf(t: Tensor): Tensor[] {
    const made = this.leaves.has(t) || t.storage ? undefined : this.producers.get(t);
    if (!made) return [];
    const { node, output } = made;
    const sources = node.region || node.op.moves === "nowhere" ? [node.inputs[output]] : node.inputs;
    return sources.filter((source) => source !== undefined);
  }

  private find(t: Tensor): Tensor {
    if (this.leaves.has(t)) return t;
    if (t.storage) return t.size > 64 ? t : this.first(`${t.dtype}[${t.shape}] ${t.dataSync()}`, t);
    const made = this.producers.get(t);
    if (!made) return t;
    const { node, output } = made;
    if (node.region || node.op.moves === "nowhere") return this.known.get(node.inputs[output]!)!;
    const from = node.inputs.map((input) => (input ? this.idOf(this.known.get(input)!) : "-"));
    return this.first(`${node.op.key}.${output}|${from.join(",")}|${formatParams(node.params)}`, t);
  }

  /** The first tensor that had this key. */
  private first(key: string, t: Tensor): Tensor {
    const equal = this.moved.get(key);
    if (!equal) this.moved.set(key, t);
    return equal ?? t;
  }

  idOf(t: Tensor): number {
    let id = this.ids.get(t);
    if (id === undefined) {
      id = this.ids.size;
      this.ids.set(t, id);
    }
    return id;
  }

  /** The leaves that a tensor given by `of` is moved from. */
  leavesOf(t: Tensor): Tensor[] {
    const found: Tensor[] = [];
    const waiting = [t];
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      const node = this.producers.get(at)?.node;
      if (this.leaves.has(at)) found.push(at);
      else if (node?.op.moves) {
        const sources = node.op.variadic ? node.inputs : node.inputs.slice(0, 1); // others are places, such as indices
        for (const source of sources) waiting.push(this.of(source!));
      }
    }
    return found;
  }

  /** Writes `value`, what takes the place of t, into the leaves that t is moved from. */
  deliver(t: Tensor, value: Tensor, into: Map<Tensor, Tensor>): void {
    if (this.leaves.has(t)) {
      into.set(t, value);
      return;
    }
    const everywhere = full(value.shape, 1, { dtype: value.dtype });
    const values = new Map<Tensor, Tensor>();
    this.putBack(t, value, values);
    const places = new Map<Tensor, Tensor>();
    this.putBack(t, everywhere, places);
    for (const [leaf, spread] of values) {
      const times = places.get(leaf)!; // how often t holds each element
      into.set(leaf, times.gt(0).where(spread.div(times.maximum(1)), into.get(leaf) ?? leaf));
    }
  }

  /** Spreads `value` over the leaves that t is moved from, zeros elsewhere: the adjoint of the moves. */
  private putBack(t: Tensor, value: Tensor, into: Map<Tensor, Tensor>): void {
    const waiting: (readonly [Tensor, Tensor])[] = [[t, value]];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const [at, spread] = next;
      if (this.leaves.has(at)) {
        const before = into.get(at);
        into.set(at, before ? before.add(spread) : spread);
        continue;
      }
      const made = this.producers.get(at);
      if (!made) continue;
      const { op, inputs, outputs, params } = made.node;
      const back = op.vjp!({
        inputs: nameInputs(op, inputs) as never,
        outputs: nameOutputs(op, outputs) as never,
        grads: { [op.outputs[made.output]!]: spread } as never,
        params,
      }) as Record<string, Tensor | undefined>;
      inputNames(op, inputs.length).forEach((name, k) => {
        const input = inputs[k];
        if (input && back[name]) waiting.push([this.of(input), back[name]]);
      });
    }
  }
}
