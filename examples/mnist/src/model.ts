/** Two convolutions and three dense layers, as in the MNIST example of the original. */
import { DenseGeneral, Dropout, Module, varianceScaling, zeros } from "@te/layers";
import { concat, type DType, dot, pad, type Tensor } from "@te/tensor";

/**
 * `call(x)` with x [N, H, W, C] gives [N, H, W, features] in the dtype of x: a 3 × 3 convolution whose borders are filled up
 * with zeros, as a product of all 9 C neighbours with the kernel. Parameters: kernel [3, 3, C, features], bias [features].
 */
class Conv3x3 extends Module {
  constructor(private readonly features: number) {
    super();
  }

  call(x: Tensor): Tensor {
    const [, height, width, channels] = x.shape as [number, number, number, number];
    const kernel = this.param("kernel", varianceScaling(1, "fan_in", "truncated_normal"), [
      3,
      3,
      channels,
      this.features,
    ]);
    const bias = this.param("bias", zeros, [this.features]);
    const padded = pad(x, [0, 1, 1, 0], [0, 1, 1, 0]);
    const neighbours = Array.from({ length: 9 }, (_, i) => {
      const [row, column] = [Math.floor(i / 3), i % 3];
      return padded.slice([0, row, column], [x.shape[0]!, row + height, column + width]);
    });
    const weights = kernel.astype(x.dtype).reshape([9 * channels, this.features]);
    return dot(concat(neighbours, -1), weights, { lhsContract: [3], rhsContract: [0] }).add(bias.astype(x.dtype));
  }
}

/** The largest of each 2 × 2 block. */
function maxPool(x: Tensor): Tensor {
  const [count, height, width, channels] = x.shape as [number, number, number, number];
  return x.reshape([count, height / 2, 2, width / 2, 2, channels]).max([2, 4]);
}

/** Labels are padded to 32 classes, so that FP8 products have sizes that are multiples of 16. */
export const CLASSES = 32;

/** `call(images, { deterministic })` with float32 [N, 28, 28, 1] gives logits [N, 32]. The dense layers may run in FP8. */
export class DigitModel extends Module {
  private readonly conv1 = new Conv3x3(32);
  private readonly conv2 = new Conv3x3(64);
  private readonly dense1 = new DenseGeneral({ features: 128, useBias: true });
  private readonly dense2 = new DenseGeneral({ features: 32, useBias: true });
  private readonly dense3 = new DenseGeneral({ features: CLASSES, useBias: true });
  private readonly drop1 = new Dropout({ rate: 0.25 });
  private readonly drop2 = new Dropout({ rate: 0.5 });

  constructor(
    /** Of the activations. */
    private readonly dtype: DType,
  ) {
    super();
  }

  call(images: Tensor, { deterministic = false }: { deterministic?: boolean } = {}): Tensor {
    let x = this.conv1.call(images.astype(this.dtype)).maximum(0);
    x = maxPool(this.conv2.call(x).maximum(0));
    x = this.drop1.call(x, { deterministic });
    x = this.dense1.call(x.reshape([x.shape[0]!, -1])).maximum(0);
    x = this.drop2.call(x, { deterministic });
    return this.dense3.call(this.dense2.call(x));
  }
}
