/** The machine that numbers were measured on: its name, its fastest products and its memory bandwidth. */
import { cpus } from "node:os";
import { copyBandwidth, cpuInfo, productPeak } from "@te/kernels-cpu";

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly threads: number;
  readonly isa: string;
  readonly oneDNN: string;
  readonly nativeBfloat16: boolean;
  readonly node: string;
}

/** What the numbers were measured on. */
export function machine(): Machine {
  const info = cpuInfo();
  const list = cpus();
  return {
    processor: list[0]?.model.trim() ?? "unknown",
    cores: list.length,
    threads: info.available ? info.threads : 1,
    isa: info.available ? info.isa : "none",
    oneDNN: (info.available && info.oneDNN) || "none",
    nativeBfloat16: info.available && info.nativeBfloat16,
    node: process.version,
  };
}

/** GFLOP/s of the best oneDNN product, keeping the best of all calls: the machine is shared, a peak is a maximum. */
export class Peak {
  private readonly found = { float32: 0, bfloat16: 0 };
  /** What the last call of `measure` found. */
  readonly last = { float32: 0, bfloat16: 0 };
  private readonly copied = new Map<number, number>();

  measure(seconds = 1): this {
    for (const dtype of ["float32", "bfloat16"] as const) {
      this.last[dtype] = productPeak(dtype, seconds);
      this.found[dtype] = Math.max(this.found[dtype], this.last[dtype]);
    }
    return this;
  }

  /** Copies beyond the caches, and copies that move `bytes`. */
  measureCopy(seconds: number, bytes?: number): this {
    const found = this.copied.get(bytes ?? MEMORY) ?? 0;
    this.copied.set(bytes ?? MEMORY, Math.max(found, copyBandwidth(seconds, bytes)));
    return this;
  }

  get products(): { float32: number; bfloat16: number } {
    return { ...this.found };
  }

  /**
   * GFLOP/s of the faster product that holds operands of `dtype` exactly. Narrow floats are exact in float32, whose
   * products are the faster ones on a processor without bfloat16 instructions.
   */
  best(dtype: "float32" | "bfloat16"): number {
    const { float32, bfloat16 } = this.found;
    return dtype === "float32" ? float32 : Math.max(float32, bfloat16);
  }

  /** GB/s, read plus written, of a copy that moves `bytes` between mapped buffers; without `bytes`, more than the caches hold. */
  copy(bytes = MEMORY): number {
    return this.copied.get(bytes) ?? 0;
  }
}

/** The key of copies beyond the caches. */
const MEMORY = 0;
