/** What the functions of several tensors do with operands of different dtypes and shapes. */
import { broadcastShapes, checkShape, sameShape } from "../aval.js";
import { checkDType, type DType, promoteTypes } from "../dtype.js";
import { fail } from "../errors.js";
import { expectArray } from "../expect.js";
import { checkHolds } from "../integers.js";
import { Tensor } from "../tensor.js";
import { cast } from "./cast.js";
import { expectTensor } from "./check.js";
import { fillOp } from "./fill.js";

/** A number as a tensor of no axes. A number that the dtype cannot hold is an error. */
export function scalar(fn: string, value: number, dtype: DType): Tensor {
  expectPlain(fn, value);
  checkDType(fn, dtype);
  checkHolds(fn, "a number beside a tensor", value, dtype, 'Cast the tensor with astype("float32").');
  return fillOp({}, { value, shape: [], dtype }).y;
}

function expectPlain(fn: string, value: unknown): void {
  if (typeof value === "number") return;
  fail("dtype", fn, "operands must be tensors or numbers", value ?? String(value), "Make a tensor with tensor(...).");
}

/** The dtype in which a number meets a tensor: the tensor's, except that bool gives way. */
const meeting = (dtype: DType, value: number): DType =>
  dtype !== "bool" ? dtype : Number.isInteger(value) ? "int32" : "float32";

/** Brings operands to one dtype: tensors promote as in JAX, numbers take the dtype of the tensors. */
export const promote = (fn: string, ...operands: (Tensor | number)[]): [Tensor, Tensor, ...Tensor[]] =>
  promoteAll(fn, operands) as [Tensor, Tensor, ...Tensor[]];

/** The same for a list of any length. */
export function promoteAll(fn: string, operands: readonly (Tensor | number)[]): Tensor[] {
  expectArray(fn, "tensors and numbers", { operands });
  // By index, because holes count.
  for (let i = 0; i < operands.length; i++) if (!(operands[i] instanceof Tensor)) expectPlain(fn, operands[i]);
  let dtype: DType | undefined;
  for (const x of operands) if (x instanceof Tensor) dtype = dtype ? promoteTypes(dtype, x.dtype) : x.dtype;
  let common: DType = dtype ?? "float32";
  for (const x of operands) if (typeof x === "number") common = meeting(common, x);
  return operands.map((x) => (x instanceof Tensor ? cast(x, common) : scalar(fn, x, common)));
}

/** Sums a cotangent over the axes along which its operand was repeated. */
export function sumTo(grad: Tensor, shape: readonly number[]): Tensor {
  expectTensor("sumTo", { grad });
  checkShape("sumTo", shape);
  if (sameShape(grad.shape, shape)) return grad;
  if (!sameShape(broadcastShapes("sumTo", shape, grad.shape), grad.shape))
    fail("shape", "sumTo", `grad must be what [${shape.join(",")}] broadcasts to`, grad);
  const lead = grad.shape.length - shape.length;
  const axes = grad.shape.flatMap((d, i) => (i < lead || (shape[i - lead] === 1 && d !== 1) ? [i] : []));
  return (axes.length ? grad.sum(axes) : grad).reshape(shape);
}
