/** Checks that the shape rules of ops share. */
import { type Aval, checkAval, formatAval, normalizeAxis, sameShape } from "../aval.js";
import { checkDType, type DType, isFloat, isInteger } from "../dtype.js";
import { fail } from "../errors.js";
import { expectArray, expectObject, expectString } from "../expect.js";
import { Tensor } from "../tensor.js";

type Named = Readonly<Record<string, Aval | undefined>>;

/** Throws unless every value is a tensor. */
export function expectTensor(fn: string, args: Readonly<Record<string, unknown>>): void {
  expectObject(fn, { "the values to check": args });
  for (const [name, a] of Object.entries(args)) {
    if (!(a instanceof Tensor))
      fail("option", fn, `${name} must be a tensor`, a ?? String(a), "Make one with tensor().");
  }
}

/** Throws unless every given value has a shape and a dtype. */
function expectAvals(fn: string, args: Named): void {
  expectObject(fn, { "the values to check": args });
  for (const name of Object.keys(args)) if (args[name] !== undefined) checkAval(fn, args[name]);
}

/** Throws unless the value is an array of tensors. */
export function expectTensors(fn: string, name: string, value: unknown): void {
  expectString(fn, { name });
  expectArray(fn, "tensors", { [name]: value });
  const list = value as readonly unknown[];
  // By index, because holes count.
  for (let i = 0; i < list.length; i++)
    if (!(list[i] instanceof Tensor)) expectTensor(fn, { [`${name}[${i}]`]: list[i] });
}

/** Throws unless every given value has a float dtype. */
export function expectFloat(fn: string, args: Named): void {
  expectAvals(fn, args);
  for (const [name, a] of Object.entries(args)) {
    if (a && !isFloat(a.dtype)) fail("dtype", fn, `${name} must be floating`, a, 'Cast it with astype("float32").');
  }
}

/** Throws unless every given value has an integer dtype. */
export function expectInteger(fn: string, args: Named): void {
  expectAvals(fn, args);
  for (const [name, a] of Object.entries(args)) {
    if (a && !isInteger(a.dtype))
      fail("dtype", fn, `${name} must be an integer tensor`, a, 'Cast it with astype("int32").');
  }
}

/** Throws unless every given value has one of the dtypes. */
export function expectDType(fn: string, args: Named, ...dtypes: DType[]): void {
  expectAvals(fn, args);
  for (const dtype of dtypes) checkDType(fn, dtype);
  for (const [name, a] of Object.entries(args)) {
    if (a && !dtypes.includes(a.dtype)) {
      fail("dtype", fn, `${name} must be ${dtypes.join(" or ")}`, a, `Cast it with astype("${dtypes[0]}").`);
    }
  }
}

/** Throws unless all given values have one dtype. */
export function expectSameDType(fn: string, args: Named): void {
  expectAvals(fn, args);
  const present = Object.entries(args).filter((entry): entry is [string, Aval] => entry[1] !== undefined);
  const first = present[0];
  for (const [name, a] of present) {
    if (first && a.dtype !== first[1].dtype) {
      fail("dtype", fn, `${name} must have the dtype of ${first[0]}, ${first[1].dtype}`, a, "Cast one with astype.");
    }
  }
}

/** Throws unless every given value has `shape`; `why` says where that shape comes from. */
export function expectShape(fn: string, args: Named, shape: readonly number[], why: string): void {
  expectAvals(fn, args);
  expectArray(fn, "lengths", { "the shape to have": shape });
  for (const [name, a] of Object.entries(args)) {
    if (a && !sameShape(a.shape, shape)) {
      fail(
        "shape",
        fn,
        `${name} must have shape [${shape.join(",")}] (${why})`,
        formatAval(a),
        "Reshape or broadcast it.",
      );
    }
  }
}

/** Throws unless int32 counts the elements along an axis. */
export function expectIndexable(fn: string, x: Aval, axis: number): void {
  checkAval(fn, x);
  const at = normalizeAxis(fn, axis, x.shape.length);
  if (x.shape[at]! > 2 ** 31)
    fail("shape", fn, `axis ${at} may have at most 2^31 elements, which int32 counts`, x, "Split it.");
}

/** Throws unless the value has exactly `rank` axes. */
export function expectRank(fn: string, args: Named, rank: number): void {
  expectAvals(fn, args);
  for (const [name, a] of Object.entries(args)) {
    if (a && a.shape.length !== rank) fail("shape", fn, `${name} must have ${rank} axes`, a, "Reshape it.");
  }
}
