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
    oneDNN: info.available ? info.oneDNN : "none",
    nativeBfloat16: info.available && info.nativeBfloat16,
    node: process.version,
  };
}

/** GFLOP/s of the best oneDNN product, keeping the best of all calls: the machine is shared, a peak is a maximum. */
export class Peak {
  private readonly found = { float32: 0, bfloat16: 0 };
  private copied = 0;

  measure(seconds = 1): this {
    for (const dtype of ["float32", "bfloat16"] as const) {
      this.found[dtype] = Math.max(this.found[dtype], productPeak(dtype, seconds));
    }
    return this;
  }

  measureCopy(seconds = 0.5): this {
    this.copied = Math.max(this.copied, copyBandwidth(seconds));
    return this;
  }

  get products(): { float32: number; bfloat16: number } {
    return { ...this.found };
  }

  /** GB/s of a copy between buffers that are already mapped, reads plus writes. */
  get copy(): number {
    return this.copied;
  }
}
