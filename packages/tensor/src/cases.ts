/** Cases: small descriptions of calls that testkit and bench turn into inputs, checks and timings on every backend. */
import type { DType } from "./dtype.js";
import { expectArray, expectFunction, expectObject } from "./expect.js";
import type { Params } from "./op.js";

/** Contents of one input. Values are drawn from a seeded generator and rounded to dtype. */
export interface Fill {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly kind: "normal" | "uniform" | "integers" | "bools" | "values";
  readonly mean?: number;
  readonly std?: number;
  readonly low?: number;
  readonly high?: number;
  readonly p?: number;
  readonly values?: readonly number[];
}

/** Relative limits of a case that needs others than its dtype's; `reason` says why. */
export interface CaseTolerance {
  readonly n: number;
  readonly x: number;
  readonly reason: string;
}

/** One case of an op: inputs to draw, params, and how its results are judged. */
export interface Case {
  readonly name: string;
  readonly inputs: Readonly<Record<string, Fill>>;
  readonly params: Params;
  /** Compare gradients too (default: when the op has a float input and a float output). */
  readonly gradient?: boolean;
  readonly tolerance?: CaseTolerance;
  /** A case to time: bytes moved and operations done, for GB/s and GFLOP/s. */
  readonly bench?: { readonly bytes?: number; readonly flops?: number };
}

type CaseOptions = Pick<Case, "gradient" | "tolerance">;

/** Makes the cases of an op: named inputs, drawn from a seed, with params and tolerances. */
export class CaseBuilder {
  normal(shape: readonly number[], o: { dtype?: DType; mean?: number; std?: number } = {}): Fill {
    return { dtype: "float32", ...o, shape, kind: "normal" };
  }
  uniform(shape: readonly number[], o: { dtype?: DType; low?: number; high?: number } = {}): Fill {
    return { dtype: "float32", ...o, shape, kind: "uniform" };
  }
  /** Integers in [low, high). */
  integers(shape: readonly number[], o: { dtype?: DType; low?: number; high: number }): Fill {
    return { dtype: "int32", ...o, shape, kind: "integers" };
  }
  /** Ones with probability p. */
  bools(shape: readonly number[], o: { dtype?: DType; p?: number } = {}): Fill {
    return { dtype: "bool", ...o, shape, kind: "bools" };
  }
  values(shape: readonly number[], values: readonly number[], dtype: DType = "float32"): Fill {
    return { shape, dtype, kind: "values", values };
  }

  case(name: string, inputs: Record<string, Fill>, params: Params = {}, options: CaseOptions = {}): Case {
    return { name, inputs, params, ...options };
  }

  bench(name: string, inputs: Record<string, Fill>, params: Params, bench: { bytes?: number; flops?: number }): Case {
    return { name, inputs, params, bench, gradient: false };
  }

  /** One case for every combination: `inputs` makes the inputs from a combination of axes, the rest of which are parameters. */
  product<A extends Record<string, readonly unknown[]>>(
    axes: A,
    inputs: (c: { [K in keyof A]: A[K][number] }) => Record<string, Fill>,
    params: (c: { [K in keyof A]: A[K][number] }) => Params = () => ({}),
    options: CaseOptions = {},
  ): Case[] {
    expectObject("CaseBuilder.product", { axes });
    expectFunction("CaseBuilder.product", { inputs, params });
    expectArray("CaseBuilder.product", "values", axes);
    let combinations: Record<string, unknown>[] = [{}];
    for (const [key, values] of Object.entries(axes)) {
      combinations = combinations.flatMap((c) => values.map((value) => ({ ...c, [key]: value })));
    }
    return combinations.map((combination) => {
      const c = combination as { [K in keyof A]: A[K][number] };
      const name = Object.entries(combination)
        .map(([key, value]) => `${key}=${format(value)}`)
        .join(" ");
      return { name, inputs: inputs(c), params: params(c), ...options };
    });
  }
}

const format = (value: unknown): string => (Array.isArray(value) ? `[${value.map(format).join(",")}]` : String(value));
