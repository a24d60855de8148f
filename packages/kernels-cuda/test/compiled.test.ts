/** What NVIDIA's compiler makes of the kernels that are there for the tensor cores: their instructions are in its output. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";

const native = join(import.meta.dirname, "../../../native");
const folder = mkdtempSync(join(tmpdir(), "te-ptx-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const hasCompiler = spawnSync("nvcc", ["--version"]).status === 0;

/** The assembly of a kernel file for Hopper, or for the GPUs from 8.0 on. */
function assemble(file: string, architecture: "90a" | "80"): string {
  const to = join(folder, "kernels.ptx");
  const flags = ["-std=c++20", "--expt-relaxed-constexpr", "-I.", "-Iinclude", `-arch=compute_${architecture}`, "-ptx"];
  execFileSync("nvcc", [...flags, join("cuda", file), "-o", to], { cwd: native, stdio: "pipe" });
  return readFileSync(to, "utf8");
}

/** The body of each kernel, by its mangled name. */
const kernelsOf = (assembly: string): Map<string, string> =>
  new Map(
    assembly
      .split(".entry ")
      .slice(1)
      .map((text) => [text.slice(0, text.indexOf("(")), text]),
  );

const WGMMA = /wgmma\.mma_async\.sync\.aligned\.m64n\d+k16\.f32\.(bf16|f16)/;
const MMA = /mma\.sync\.aligned\.m16n8k(16|8)/;

describe.skipIf(!hasCompiler)("the assembly", () => {
  test.each([
    [
      "attention/hopper_forward.cu",
      "hopper_attention",
      [WGMMA, /cp\.async\.bulk\.tensor\.4d/, /setmaxnreg\.inc/, /mbarrier\.try_wait/],
    ],
    [
      "attention/hopper_backward.cu",
      "hopper_gradient",
      [WGMMA, /cp\.async\.bulk\.tensor\.4d/, /setmaxnreg\.inc/, /mbarrier\.try_wait/],
    ],
  ])(
    "of %s uses the tensor cores and the copy engine of Hopper",
    (file, name, instructions) => {
      const found = [...kernelsOf(assemble(file, "90a"))].filter(([mangled]) => mangled.includes(name));
      expect(found.length).toBeGreaterThan(1);
      for (const [, body] of found) for (const instruction of instructions) expect(body).toMatch(instruction);
    },
    300_000,
  );

  test.each([
    ["attention/forward_bfloat16.cu", "80"],
    ["attention/forward_float16.cu", "80"],
    ["gemm/tile_product.cu", "80"],
  ] as const)("of %s uses the tensor cores of every GPU from 8.0 on", (file, architecture) => {
    const bodies = [...kernelsOf(assemble(file, architecture)).values()];
    const products = bodies.filter((body) => MMA.test(body));
    expect(products.length).toBeGreaterThan(0);
    // Tiles come asynchronously, while others are multiplied.
    for (const body of products) expect(body).toMatch(/cp\.async\.cg\.shared\.global/);
  });
});
