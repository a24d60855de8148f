/** The op `rope`, rotary position embedding, with angles that keep their digits at any position. */
import { arange, concat, stack, type Tensor, tensor } from "@te/tensor";
import {
  checkRange,
  type Defaults,
  defineOp,
  expectDType,
  expectFloat,
  expectTensor,
  FLOATS,
  fail,
  rule,
  withDefaults,
} from "@te/tensor/op";

export interface RopeParams {
  /** Pairs that turn together: 2i with 2i + 1 ("consecutive"), or i with i + d/2 ("alternate"). */
  method: "consecutive" | "alternate";
  /** Pair i turns by position / (windowMin * (windowMax / windowMin)^(2i/d)) radians. */
  windowMin: number;
  windowMax: number;
  /** The axis of positions, 0 or 1; the other one is the batch. */
  sequenceAxis: number;
  /** Of packed tensors, x with an axis of slots before the heads: the first so many slots turn. 0: x is not packed. */
  slots: number;
  /** Turn back: the inverse and the adjoint. */
  inverse: boolean;
}

const DEFAULTS: RopeParams = {
  method: "consecutive",
  windowMin: 1,
  windowMax: 10000,
  sequenceAxis: 1,
  slots: 0,
  inverse: false,
};

/** x rounded to a number of significant bits. */
const toBits = (x: number, bits: number): number => {
  const unit = 2 ** (Math.floor(Math.log2(x)) + 1 - bits);
  return Math.round(x / unit) * unit;
};

/** float32 does not hold larger whole numbers. */
const MAX_POSITION = 2 ** 24;
const POSITIONS = {
  fn: "rope",
  what: "every position",
  low: -MAX_POSITION,
  high: MAX_POSITION,
  wayOut: "Count positions from the start of the sequence.",
};

const fraction = (turns: Tensor): Tensor => turns.sub(turns.round());

/**
 * Angles in float32 to its last digits. float32 cannot hold position * frequency to a small fraction of a turn, so both are cut
 * into pieces whose products are exact, and whole turns are dropped from each.
 */
function angles(positions: Tensor, { windowMin, windowMax }: RopeParams, pairs: number): Tensor {
  const turns = Array.from(
    { length: pairs },
    (_, i) => 1 / (windowMin * (windowMax / windowMin) ** (i / pairs)) / (2 * Math.PI),
  );
  const high = turns.map((t) => toBits(t, 12));
  const middle = turns.map((t, i) =>
    t === high[i] ? 0 : toBits(Math.abs(t - high[i]!), 12) * Math.sign(t - high[i]!),
  );
  const low = turns.map((t, i) => t - high[i]! - middle[i]!);
  const [a, b, c] = [high, middle, low].map((values) => tensor(Float32Array.from(values))) as [Tensor, Tensor, Tensor];
  const whole = positions.expandDims(-1);
  const fine = whole.rem(2 ** 12);
  const pieces = [whole.sub(fine), fine].map((piece) => piece.astype("float32")); // each of 12 bits
  const exact = [a, b].flatMap((part) => pieces.map((piece) => fraction(piece.mul(part))));
  const rest = whole.astype("float32").mul(c);
  return fraction(exact.reduce((sum, part) => sum.add(part)).add(rest)).mul(2 * Math.PI);
}

/**
 * Rotary position embedding. x float [B, S, h, d] (sequenceAxis 0: [S, B, h, d]) with d even, positions int32 [S] or
 * [B, S] (default 0, 1, …; beyond ±2^24 an error of code "index") → y like x: each pair of numbers (u, v) of a head turns to (u cos - v sin, v cos + u sin).
 * Angles and products are float32, rounded once. With `slots`, x is [B, S, n, h, d] of slots ≤ n: queries and keys of q, k and
 * v (2 of 3), keys of k and v (1 of 2). The other slots stay as they are.
 */
export const ropeOp = defineOp("rope", {
  inputs: ["x"],
  optional: ["positions"],
  outputs: ["y"],
  params: DEFAULTS,
  inPlace: [["x", "y"]],

  shape({ x, positions }, { method, windowMin, windowMax, sequenceAxis, slots }) {
    expectFloat("rope", { x });
    if (method !== "consecutive" && method !== "alternate")
      fail("option", "rope", "method must be consecutive or alternate", method);
    if (!(windowMin > 0 && windowMax > 0 && Number.isFinite(windowMin + windowMax))) {
      fail("option", "rope", "windowMin and windowMax must be positive", [windowMin, windowMax]);
    }
    if (sequenceAxis !== 0 && sequenceAxis !== 1) fail("option", "rope", "sequenceAxis must be 0 or 1", sequenceAxis);
    if (!Number.isInteger(slots) || slots < 0) fail("option", "rope", "slots must be an integer of 0 or more", slots);
    const rank = slots > 0 ? 5 : 4;
    if (x.shape.length !== rank || x.shape.at(-1)! % 2 !== 0) {
      const axes = `${sequenceAxis === 1 ? "batch, length" : "length, batch"}, ${slots > 0 ? "slots, " : ""}heads, depth`;
      fail("shape", "rope", `x must have ${rank} axes, [${axes}], of even depth`, x, "Reshape it.");
    }
    if (slots > 0 && slots > x.shape[2]!) fail("option", "rope", `slots must be at most ${x.shape[2]}`, slots);
    if (positions) {
      expectDType("rope", { positions }, "int32");
      const [batch, length] = [x.shape[1 - sequenceAxis]!, x.shape[sequenceAxis]!];
      const { shape } = positions;
      if (shape.at(-1) !== length || shape.length > 2 || (shape.length === 2 && shape[0] !== batch)) {
        fail(
          "shape",
          "rope",
          `positions must have shape [${length}] or [${batch},${length}], batch first in any layout`,
          positions,
        );
      }
    }
    return { y: x };
  },

  sharding({ x, positions }, { sequenceAxis, slots }) {
    const places = positions?.shape.length === 2 ? "b s" : "s";
    const heads = `${sequenceAxis === 1 ? "b s" : "s b"} ${slots > 0 ? `${x.shape[2]} ` : ""}h d`;
    return rule(`${heads}, ${places} -> ${heads}`, { whole: ["d"] });
  },
  onShard({ x, positions }, params, shard, op) {
    const { start, size } = shard.range("s");
    return op({ x, positions: positions ?? arange(size).add(start) }, params);
  },

  reference({ x, positions }, params) {
    const [length, pairs] = [x.shape[params.sequenceAxis]!, x.shape.at(-1)! / 2];
    const turning = params.slots > 0 ? x.at(":", ":", [0, params.slots]) : x;
    const given = positions && checkRange(positions, POSITIONS);
    const angle = angles(given ?? arange(length), params, pairs); // [S, d/2] or [B, S, d/2]
    const batched = angle.rank === 3 && params.sequenceAxis === 0 ? angle.swapAxes(0, 1) : angle;
    const spread = (t: Tensor): Tensor => {
      const rows = t.rank === 2 && params.sequenceAxis === 0 ? t.expandDims(1) : t;
      const heads = rows.expandDims(-2); // [.., S, 1, d/2]
      return params.slots > 0 ? heads.expandDims(-2) : heads;
    };
    const cos = spread(batched.cos());
    const sin = spread(params.inverse ? batched.sin().neg() : batched.sin());
    const wide = turning.astype("float32");
    const alternate = params.method === "alternate";
    const paired = wide.reshape([...turning.shape.slice(0, -1), ...(alternate ? [2, pairs] : [pairs, 2])]);
    const [u, v] = alternate
      ? [paired.at("...", 0, ":"), paired.at("...", 1, ":")]
      : [paired.at("...", 0), paired.at("...", 1)];
    const both = [u.mul(cos).sub(v.mul(sin)), v.mul(cos).add(u.mul(sin))];
    const turned = (alternate ? concat(both, -1) : stack(both, -1)).reshape(turning.shape).astype(x.dtype);
    return { y: params.slots > 0 ? concat([turned, x.at(":", ":", [params.slots])], 2) : turned };
  },

  vjp: ({ inputs: { positions }, grads, params }) => ({
    x: turn(grads.y, positions, { ...params, inverse: !params.inverse }),
  }),

  cases: (c) => [
    ...c.product(
      { dtype: FLOATS, method: ["consecutive", "alternate"] as const, sequenceAxis: [0, 1] },
      ({ dtype }) => ({ x: c.normal([3, 5, 2, 14], { dtype }) }),
      ({ method, sequenceAxis }) => ({ method, sequenceAxis }),
    ),
    ...c.product(
      { method: ["consecutive", "alternate"] as const, shape: [[5], [3, 5]], sequenceAxis: [0, 1] },
      ({ shape, sequenceAxis }) => ({
        x: c.normal(sequenceAxis === 1 ? [3, 5, 2, 32] : [5, 3, 2, 32]),
        positions: c.integers(shape, { low: -100000, high: 100000 }),
      }),
      ({ method, sequenceAxis }) => ({ method, sequenceAxis, windowMax: 500000 }),
    ),
    c.case("inverse", { x: c.normal([2, 33, 3, 16]) }, { inverse: true, windowMin: 2, windowMax: 50 }),
    c.case("one pair", { x: c.normal([2, 9, 1, 2]) }, { method: "alternate" }),
    ...c.product(
      { dtype: FLOATS, method: ["consecutive", "alternate"] as const, slots: [1, 2, 3] },
      ({ dtype }) => ({ x: c.normal([2, 5, 3, 2, 16], { dtype }) }),
      ({ method, slots }) => ({ method, slots }),
    ),
    ...c.product(
      { shape: [[5], [3, 5]], sequenceAxis: [0, 1] },
      ({ shape, sequenceAxis }) => ({
        x: c.normal(sequenceAxis === 1 ? [3, 5, 2, 2, 6] : [5, 3, 2, 2, 6]),
        positions: c.integers(shape, { low: -1000, high: 1000 }),
      }),
      ({ sequenceAxis }) => ({ sequenceAxis, slots: 1 }),
    ),
    ...FLOATS.slice(0, 2).flatMap((dtype) =>
      (["consecutive", "alternate"] as const).map((method) => {
        const x = c.normal([8, 256, 8, 64], { dtype });
        return c.bench(
          `8x256x8x64 ${method} ${dtype}`,
          { x },
          { method },
          { bytes: 2 * 8 * 256 * 512 * (dtype === "float32" ? 4 : 2) },
        );
      }),
    ),
  ],
});

function turn(x: Tensor, positions: Tensor | undefined, params: Partial<RopeParams>): Tensor {
  return ropeOp({ x, positions }, params).y;
}

export interface RopeOptions extends Partial<Omit<RopeParams, "inverse">> {
  /** int32 [S] or [B, S]; default 0, 1, … */
  positions?: Tensor | undefined;
}

const OPTIONS = {
  method: DEFAULTS.method,
  windowMin: DEFAULTS.windowMin,
  windowMax: DEFAULTS.windowMax,
  sequenceAxis: DEFAULTS.sequenceAxis,
  slots: DEFAULTS.slots,
  positions: undefined,
} satisfies Defaults<RopeOptions>;

/** Rotary position embedding of queries or keys, or of those in a packed tensor; see the op `rope`. */
export function rope(x: Tensor, options: RopeOptions = {}): Tensor {
  expectTensor("rope", { x });
  const { positions, ...params } = withDefaults("rope", options, OPTIONS);
  // A check of its own runs once for all layers, and before donated caches are written.
  const checked = positions?.dtype === "int32" ? checkRange(positions, POSITIONS) : positions;
  return turn(x, checked ?? undefined, params);
}
