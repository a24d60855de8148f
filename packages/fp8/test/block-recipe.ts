/** A recipe in one file: float8_e4m3fn in blocks of 32 along the axes that a product sums over, a power of two for each. */
import { and, bitcast, dot, pad, type Tensor } from "@te/tensor";
import { freeAxes } from "@te/tensor/op";
import type { ContractAxes, ForwardDotOptions, Quantized, Quantizer, Recipe } from "../src/index.js";

const BLOCK = 32;
const LARGEST = 448;
const size = (shape: readonly number[], axes: readonly number[]): number => axes.reduce((n, a) => n * shape[a]!, 1);

/** Shape of the scales: the axes that stay, then one entry per block of the others, which count as one axis. */
const scaleShape = (shape: readonly number[], along: readonly number[]): number[] => [
  ...freeAxes(shape.length, along, []).map((axis) => shape[axis]!),
  Math.ceil(size(shape, along) / BLOCK),
];

/** x as [free axes..., blocks, 32], zeros where the last block has no element. */
function toBlocks(x: Tensor, along: readonly number[]): Tensor {
  const scales = scaleShape(x.shape, along);
  const length = size(x.shape, along);
  const rows = x.transpose([...freeAxes(x.rank, along, []), ...along]).reshape([...scales.slice(0, -1), length]);
  const none = rows.shape.map(() => 0);
  return pad(rows, none, [...none.slice(0, -1), scales.at(-1)! * BLOCK - length]).reshape([...scales, BLOCK]);
}

/** What toBlocks was given, of this shape. */
function fromBlocks(blocks: Tensor, shape: readonly number[], along: readonly number[]): Tensor {
  const order = [...freeAxes(shape.length, along, []), ...along];
  const free = blocks.shape.slice(0, -2);
  const rows = blocks.reshape([...free, blocks.shape.at(-2)! * BLOCK]);
  return rows
    .slice(
      rows.shape.map(() => 0),
      [...free, size(shape, along)],
    )
    .reshape(order.map((axis) => shape[axis]!))
    .transpose(order.map((_, axis) => order.indexOf(axis)));
}

/** The smallest power of two that is at least x, a normal number: the exponent is rounded up in the bits. */
const powerOfTwo = (x: Tensor): Tensor => bitcast(and(bitcast(x, "int32").add(0x7fffff), 0x7f800000), "float32");

function quantize(x: Tensor, along: readonly number[]): Quantized {
  const blocks = toBlocks(x.astype("float32"), along);
  const largest = blocks.abs().max(-1, { keepDims: true });
  const scaleInv = powerOfTwo(largest.div(LARGEST).maximum(2 ** -126));
  const q = blocks.div(scaleInv).astype("float8_e4m3fn", { saturate: true });
  return { q: fromBlocks(q.astype("float32"), x.shape, along).astype("float8_e4m3fn"), scaleInv: scaleInv.squeeze(-1) };
}

export const dequantizeBlocks = ({ q, scaleInv }: Quantized, along: readonly number[]): Tensor =>
  fromBlocks(toBlocks(q.astype("float32"), along).mul(scaleInv.expandDims(-1)), q.shape, along);

export class BlockScaling implements Recipe<null> {
  readonly fromFloat32 = false;

  quantizer(): Quantizer<null> {
    return {
      dtype: "float8_e4m3fn",
      copies: "each",
      scaleShape,
      variables: {},
      rule: null,
      quantize: (x, _, along) => quantize(x, along),
    };
  }

  dot(a: Quantized, b: Quantized, axes: ContractAxes, { dtype, bias }: ForwardDotOptions): Tensor {
    const y = dot(dequantizeBlocks(a, axes.lhsContract), dequantizeBlocks(b, axes.rhsContract), { ...axes });
    return (bias ? y.add(bias.astype("float32")) : y).astype(dtype);
  }

  toString(): string {
    return "BlockScaling()";
  }
}
