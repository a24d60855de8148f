/** Einstein summation, worked out as sums and products of two tensors at a time. */
import { fail } from "./errors.js";
import { mul } from "./ops/arithmetic.js";
import { expectTensors } from "./ops/check.js";
import { dot } from "./ops/dot.js";
import { sum } from "./ops/reduce.js";
import { reshape, transpose } from "./ops/reshape.js";
import type { Tensor } from "./tensor.js";

/** A tensor whose axes have names. */
interface Term {
  readonly labels: readonly string[];
  readonly value: Tensor;
}

const bad = (rule: string, got: string): never =>
  fail("option", "einsum", rule, `"${got}"`, 'Write it like "bqhd,bkhd->bhqk".');

/** The labels of one term; "..." becomes the labels 0, 1, … counted from the right. */
function labelsOf(term: string, rank: number): string[] {
  const [before = "", after, extra] = term.split("...");
  const letters = [...before, ...(after ?? "")];
  if (extra !== undefined || letters.some((c) => !/[A-Za-z]/.test(c)))
    bad("a term is letters with at most one ...", term);
  if (new Set(letters).size !== letters.length)
    bad("a letter may stand once in a term; diagonals are not supported", term);
  const rest = rank - letters.length;
  if (rest < 0 || (rest > 0 && after === undefined)) bad(`the term of a tensor with ${rank} axes must name each`, term);
  const dots = Array.from({ length: rest }, (_, i) => String(rest - 1 - i));
  return [...before, ...dots, ...(after ?? "")];
}

function parse(equation: string, tensors: readonly Tensor[]): { terms: Term[]; result: string[] } {
  const [left = "", right, extra] = equation.replaceAll(" ", "").split("->");
  const inputs = left.split(",");
  if (extra !== undefined || inputs.length !== tensors.length)
    bad(`the equation must have one term for each of ${tensors.length} tensors`, equation);
  const terms = inputs.map((term, i) => ({ labels: labelsOf(term, tensors[i]!.rank), value: tensors[i]! }));
  const counts = new Map<string, number>();
  for (const { labels } of terms) for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  const dots = [...counts.keys()].filter((label) => /\d/.test(label)).sort((a, b) => Number(b) - Number(a));
  // Without an arrow: the axes of ... first, then the letters that occur once, in alphabetical order.
  const once = [...counts]
    .filter(([label, n]) => n === 1 && !dots.includes(label))
    .map(([label]) => label)
    .sort();
  if (right === undefined) return { terms, result: [...dots, ...once] };
  const given = right.includes("...") ? dots.length : 0;
  const result = labelsOf(right, right.replace("...", "").length + given);
  const stranger = result.find((label) => !counts.has(label));
  if (stranger !== undefined) bad(`the result names ${stranger}, which no tensor has`, equation);
  return { terms, result };
}

/** Lengths of all labels; one label must have one length, or 1 where it comes from "...". */
function checkLengths(terms: readonly Term[], equation: string): void {
  const lengths = new Map<string, number>();
  for (const { labels, value } of terms) {
    labels.forEach((label, i) => {
      const d = value.shape[i]!;
      const known = lengths.get(label) ?? d;
      const repeats = /\d/.test(label) && (known === 1 || d === 1);
      if (known !== d && !repeats)
        fail("shape", "einsum", `${label} in "${equation}" must have one length`, `${known} and ${d}`);
      lengths.set(label, known === 1 ? d : known);
    });
  }
}

/** Whether the result or another term needs a label. */
type Needed = (label: string) => boolean;

/** Sums over the labels that neither the result nor another term needs. */
function sumUnneeded({ labels, value }: Term, needed: Needed): Term {
  const drop = labels.flatMap((label, i) => (needed(label) ? [] : [i]));
  return drop.length ? { labels: labels.filter(needed), value: sum(value, drop) } : { labels, value };
}

/** One dot: shared labels that are needed later run side by side, the other shared ones are contracted. */
function multiply(a: Term, b: Term, needed: Needed): Term {
  const at = (labels: readonly string[], which: readonly string[]) => which.map((label) => labels.indexOf(label));
  const shared = a.labels.filter((label) => b.labels.includes(label));
  if (shared.some((label) => a.value.shape[a.labels.indexOf(label)] !== b.value.shape[b.labels.indexOf(label)])) {
    return multiplyBroadcast(a, b, needed);
  }
  const batch = shared.filter((label) => needed(label));
  const contract = shared.filter((label) => !needed(label));
  const free = (term: Term) => term.labels.filter((label) => !shared.includes(label));
  const value = dot(a.value, b.value, {
    lhsContract: at(a.labels, contract),
    rhsContract: at(b.labels, contract),
    lhsBatch: at(a.labels, batch),
    rhsBatch: at(b.labels, batch),
  });
  return { labels: [...batch, ...free(a), ...free(b)], value };
}

/** The rare case of an axis of "..." that one operand repeats: elementwise product, then sum. */
function multiplyBroadcast(a: Term, b: Term, needed: Needed): Term {
  const labels = [...a.labels, ...b.labels.filter((label) => !a.labels.includes(label))];
  const spread = (term: Term): Tensor => {
    const present = labels.filter((label) => term.labels.includes(label));
    const ordered = transpose(
      term.value,
      present.map((label) => term.labels.indexOf(label)),
    );
    return reshape(
      ordered,
      labels.map((label) => (present.includes(label) ? ordered.shape[present.indexOf(label)]! : 1)),
    );
  };
  return sumUnneeded({ labels, value: mul(spread(a), spread(b)) }, needed);
}

/**
 * Einstein summation: letters name axes, axes that the result leaves out are summed, "..." stands for leading axes that
 * broadcast. `einsum("bqhd,bkhd->bhqk", q, k)`. Tensors are multiplied from left to right.
 */
export function einsum(equation: string, ...tensors: Tensor[]): Tensor {
  if (typeof equation !== "string")
    fail("option", "einsum", "the equation must be a string", equation ?? String(equation));
  expectTensors("einsum", "tensors", tensors);
  const { terms, result } = parse(equation, tensors);
  checkLengths(terms, equation);
  const first = new Map<string, number>();
  const last = new Map<string, number>();
  terms.forEach(({ labels }, i) => {
    for (const label of labels) {
      if (!first.has(label)) first.set(label, i);
      last.set(label, i);
    }
  });
  const stays = new Set(result);
  const reduced = terms.map((term) => sumUnneeded(term, (l) => stays.has(l) || first.get(l) !== last.get(l)));
  const product = reduced.reduce((left, right, i) => multiply(left, right, (l) => stays.has(l) || last.get(l)! > i));
  return transpose(
    product.value,
    result.map((label) => product.labels.indexOf(label)),
  );
}
