/**
 * What processes do together, each with its own part: ops of the programs that one process of a mesh runs. Only the
 * partitioner makes them.
 */
import { type Aval, defineOp, fail, type HostArray, type Reduction, wholeRule } from "@te/tensor/op";

const PARAMS = {
  /** The processes that take part, in order, and which of them this one is. */
  ranks: [0] as readonly number[],
  place: 0,
  /** Equal for equal programs, and who asked: what processes compare before they send. */
  program: 0,
  purpose: "",
};

/** The processes of a collective, and what it is for. */
export type Group = typeof PARAMS;

const KINDS = { ranks: "sizes", place: "size", program: "size" } as const;

/** Processes meet in kernels. A world of one needs none: what it exchanges with itself is what it has. */
function evaluateAlone(op: string, { ranks }: Group, x: HostArray, y: HostArray): void {
  if (ranks.length > 1)
    fail(
      "unsupported",
      op,
      "processes exchange in native kernels",
      `${ranks.length} ranks`,
      'Import "@te/kernels-cpu".',
    );
  y.data.set(x.data as never);
}

function checkGroup(op: string, { ranks, place }: Group): void {
  if (ranks.length === 0 || new Set(ranks).size !== ranks.length)
    fail("option", op, "ranks must name the processes that take part, once each", ranks);
  if (place >= ranks.length) fail("option", op, `place must be one of ${ranks.length}`, place);
}

/** Throws unless x has a part for each process, along its first axis. */
function checkParts(op: string, x: Aval, group: Group): void {
  checkGroup(op, group);
  if (x.shape[0] !== group.ranks.length)
    fail("shape", op, `x must have a part for each of the ${group.ranks.length} ranks along its first axis`, x);
}

const noDerivative = (op: string): never =>
  fail(
    "unsupported",
    op,
    "what processes exchange has no derivative of its own",
    undefined,
    "Partitioned programs hold that of the whole.",
  );

/** y[k] = the x of the k-th process: of shape [processes, ...]. */
export const allGatherOp = defineOp("all_gather", {
  inputs: ["x"],
  outputs: ["y"],
  params: PARAMS,
  kinds: KINDS,
  exchanges: true,
  shape: ({ x }, group) => {
    checkGroup("all_gather", group);
    return { y: { shape: [group.ranks.length, ...x.shape], dtype: x.dtype } };
  },
  sharding: wholeRule,
  evaluate: ({ x }, group, { y }) => evaluateAlone("all_gather", group, x, y),
  vjp: () => noDerivative("all_gather"),
  cases: (c) => [c.case("one process", { x: c.normal([3, 4]) }, {}, { gradient: false })],
});

/** y[k] = what the k-th process has at x[place]. x: [processes, ...]. */
export const allToAllOp = defineOp("all_to_all", {
  inputs: ["x"],
  outputs: ["y"],
  params: PARAMS,
  kinds: KINDS,
  exchanges: true,
  shape: ({ x }, group) => {
    checkParts("all_to_all", x, group);
    return { y: x };
  },
  sharding: wholeRule,
  evaluate: ({ x }, group, { y }) => evaluateAlone("all_to_all", group, x, y),
  vjp: () => noDerivative("all_to_all"),
  cases: (c) => [c.case("one process", { x: c.normal([1, 4]) }, {}, { gradient: false })],
});

/**
 * y = x, a text in bytes that is the same in all processes. Where it is not, an error says in which processes it is what, by
 * `purpose`, and in which line it differs first; from then on these processes exchange nothing.
 */
export const agreeOp = defineOp("agree", {
  inputs: ["x"],
  outputs: ["y"],
  params: PARAMS,
  kinds: KINDS,
  shape: ({ x }, group) => {
    checkGroup("agree", group);
    if (x.dtype !== "uint8") fail("dtype", "agree", "x must be a text in bytes, uint8", x);
    return { y: x };
  },
  sharding: wholeRule,
  evaluate: ({ x }, group, { y }) => evaluateAlone("agree", group, x, y),
  vjp: () => noDerivative("agree"),
  cases: (c) => [c.case("one process", { x: c.integers([9], { dtype: "uint8", high: 200 }) }, {}, { gradient: false })],
});

const PERMUTED = { ...PARAMS, sources: [] as readonly number[], targets: [] as readonly number[] };

function checkPlaces(group: typeof PERMUTED): void {
  const { ranks, sources, targets } = group;
  checkGroup("ppermute", group);
  for (const [name, places] of Object.entries({ sources, targets }))
    if (new Set(places).size !== sources.length || places.some((place) => place >= ranks.length))
      fail("option", "ppermute", `${name} must be ${sources.length} of ${ranks.length} places, each once`, places);
}

/** y = the x of the process at place sources[i], where this one is at targets[i]; zeros where it is at none. */
export const ppermuteOp = defineOp("ppermute", {
  inputs: ["x"],
  outputs: ["y"],
  params: PERMUTED,
  kinds: { ...KINDS, sources: "sizes", targets: "sizes" },
  exchanges: true,
  shape: ({ x }, group) => {
    checkPlaces(group);
    return { y: x };
  },
  sharding: wholeRule,
  evaluate: ({ x }, group, { y }) => {
    if (group.ranks.length === 1 && group.sources.length === 0) y.data.fill(0);
    else evaluateAlone("ppermute", group, x, y);
  },
  vjp: () => noDerivative("ppermute"),
  cases: (c) =>
    [[0], []].map((places) =>
      c.case(
        places.length > 0 ? "to itself" : "from nobody",
        { x: c.normal([3, 4]) },
        { sources: places, targets: places },
        { gradient: false },
      ),
    ),
});

const REDUCTIONS: readonly Reduction[] = ["sum", "max", "min"];
const REDUCED = { params: { ...PARAMS, reduction: "sum" as Reduction }, kinds: { ...KINDS, reduction: REDUCTIONS } };

/**
 * y = the x of all processes combined, element by element: their sum, maximum or minimum, taken in the order of the ranks,
 * of 16-bit floats in float32 and rounded once. All get the same bits.
 */
export const allReduceOp = defineOp("all_reduce", {
  inputs: ["x"],
  outputs: ["y"],
  ...REDUCED,
  exchanges: true,
  shape: ({ x }, group) => {
    checkGroup("all_reduce", group);
    return { y: x };
  },
  sharding: wholeRule,
  evaluate: ({ x }, group, { y }) => evaluateAlone("all_reduce", group, x, y),
  vjp: () => noDerivative("all_reduce"),
  cases: (c) =>
    c
      .product(
        { dtype: ["float32", "bfloat16", "int32"] as const },
        ({ dtype }) => ({ x: dtype === "int32" ? c.integers([5, 7], { high: 9 }) : c.normal([5, 7], { dtype }) }),
        () => ({}),
      )
      .map((of) => ({ ...of, gradient: false })),
});

/** y = the x[place] of all processes combined. x: [processes, ...]. */
export const reduceScatterOp = defineOp("reduce_scatter", {
  inputs: ["x"],
  outputs: ["y"],
  ...REDUCED,
  exchanges: true,
  shape: ({ x }, group) => {
    checkParts("reduce_scatter", x, group);
    return { y: { shape: x.shape.slice(1), dtype: x.dtype } };
  },
  sharding: wholeRule,
  evaluate: ({ x }, group, { y }) => evaluateAlone("reduce_scatter", group, x, y),
  vjp: () => noDerivative("reduce_scatter"),
  cases: (c) => [c.case("one process", { x: c.normal([1, 4, 3]) }, {}, { gradient: false })],
});
