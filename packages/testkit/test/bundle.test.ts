/** Applications that a bundler made: they start, they find the native kernels, and where they do not they say so in one line. */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../../..");
/** Where a bundle sees the packages of this repository, and where it sees none. */
const inside = join(import.meta.dirname, "../out/bundles");
const outside = mkdtempSync(join(tmpdir(), "te-bundle-"));
const native = process.env.TE_NATIVE_DIR ?? join(root, "native/build");
const isBuilt = process.env.TE_KERNELS !== "off" && existsSync(join(native, "te_cpu.node"));

mkdirSync(inside, { recursive: true });
afterAll(() => {
  for (const folder of [inside, outside]) rmSync(folder, { recursive: true, force: true });
});

const LAYER = `
import { cudaAvailable } from "@te/kernels-cuda";
import { DenseGeneral } from "@te/layers";
import { random } from "@te/tensor";
    import { currentBackend } from "@te/tensor";
const layer = new DenseGeneral({ features: 2 });
const x = random.normal(random.key(0), [1, 3]);
layer.apply(layer.init(random.key(1), x), x).data().then((y) =>
  console.log("ran", y.length, "on", currentBackend().name, typeof cudaAvailable().available));
`;

type Format = "esm" | "cjs";
const FORMATS: Format[] = ["esm", "cjs"];

/** Bundles a program from the sources; returns the path of the bundle. */
function bundle(folder: string, name: string, source: string, format: Format, flags: string[] = []): string {
  const entry = join(inside, `${name}-entry.mjs`);
  writeFileSync(entry, source);
  const out = join(folder, `${name}.${format === "esm" ? "mjs" : "cjs"}`);
  const always = ["--bundle", "--platform=node", "--conditions=@te/source", "--log-level=error"];
  const all = [entry, ...always, `--format=${format}`, `--outfile=${out}`, ...flags];
  execFileSync(join(root, "node_modules/.bin/esbuild"), all, { stdio: "inherit" });
  return out;
}

function run(file: string, env: Record<string, string> = {}, flags: string[] = []) {
  const { TE_KERNELS: _, TE_NATIVE_DIR: __, NODE_OPTIONS: ___, ...plain } = process.env;
  const { stdout, stderr } = spawnSync(process.execPath, [...flags, file], {
    cwd: outside,
    encoding: "utf8",
    env: { ...plain, ...env },
  });
  return { stdout: stdout.trim(), stderr: stderr.trim() };
}

/** A folder of the bundle's own, with what a platform package holds. */
function folderWithKernels(name: string): string {
  const folder = join(outside, name);
  mkdirSync(folder);
  cpSync(join(native, "te_cpu.node"), join(folder, "te_cpu.node"), { dereference: true });
  return folder;
}

describe.each(FORMATS)("a bundle as %s", (format) => {
  test("runs without native kernels and says in one line why", () => {
    const { stdout, stderr } = run(bundle(outside, "alone", LAYER, format));
    expect(stdout).toBe("ran 2 on reference boolean");
    expect(stderr.split("\n")).toHaveLength(1);
    expect(stderr).toMatch(
      /^te: native kernels are not available: .* is not installed, nor is te_cpu\.node in .*; using the slow reference$/,
    );
    expect(stderr).toContain("in a bundle, copy the files of the platform package beside it");
  });

  test("says nothing where the reference was asked for", () => {
    const { stdout, stderr } = run(bundle(outside, "asked", LAYER, format), { TE_KERNELS: "off" });
    expect([stdout, stderr]).toEqual(["ran 2 on reference boolean", ""]);
  });

  test.runIf(isBuilt)("takes the kernels of TE_NATIVE_DIR", () => {
    const { stdout, stderr } = run(bundle(outside, "named", LAYER, format), { TE_NATIVE_DIR: native });
    expect([stdout, stderr]).toEqual(["ran 2 on cpu boolean", ""]);
  });

  test.runIf(isBuilt)("takes the kernels beside it", () => {
    const { stdout, stderr } = run(bundle(folderWithKernels(`beside-${format}`), "app", LAYER, format));
    expect([stdout, stderr]).toEqual(["ran 2 on cpu boolean", ""]);
  });

  // webpack puts the address that the source had when it was bundled, and says that there is a __filename.
  test.runIf(isBuilt)("does so where it was made on another machine", () => {
    const elsewhere = `--define:import.meta.url="file:///build/node_modules/@te/kernels-cpu/dist/index.js"`;
    const { stdout, stderr } = run(bundle(folderWithKernels(`elsewhere-${format}`), "app", LAYER, format, [elsewhere]));
    expect([stdout, stderr]).toEqual(["ran 2 on cpu boolean", ""]);
  });
});

test("names of variables and initial values are those of the sources where a bundler shortened names", () => {
  const source = `
    import * as layers from "@te/layers";
    import { random, tree } from "@te/tensor";
    const x = random.normal(random.key(0), [2, 4]);
    class Net extends layers.Module {
      call(x) { return new layers.LayerNormMLP({ intermediateDim: 8 }).call(new layers.DenseGeneral({ features: 4 }).call(x))[0]; }
    }
    const made = new Net().init(random.key(1), x, { deterministic: true });
    for (const { path, leaf } of tree.leavesWithPath(made.params)) console.log(path.join("/"), leaf.dataSync().slice(0, 2).join());
    try { new layers.DenseGeneral(3); } catch (error) { console.log(error.message); }`;
  const off = { TE_KERNELS: "off" };
  const plain = run(bundle(outside, "plain", source, "esm"), off);
  const short = run(bundle(outside, "short", source, "esm", ["--minify"]), off);
  expect(plain.stdout).toMatch(
    /^DenseGeneral_0\/kernel [\s\S]*LayerNormMLP_0\/wi_kernel [\s\S]*DenseGeneral: options must/,
  );
  expect(short).toEqual(plain);
});

test("@te/tensor alone says what brings the kernels", () => {
  const source = `import { ones } from "@te/tensor"; console.log(ones([2]).add(1).dataSync().join());`;
  const { stdout, stderr } = run(bundle(outside, "tensor", source, "esm"));
  expect(stdout).toBe("2,2");
  expect(stderr).toMatch(
    /^te: native kernels are not available: nothing imported @te\/kernels-cpu, .* using the slow reference$/,
  );
});

describe("two copies of @te/tensor", () => {
  const BACKEND = `
    import "@te/layers";
    import { ones } from "@te/tensor";
    import { currentBackend } from "@te/tensor";
    ones([2]).add(1).data().then((y) => console.log(y.join(), "on", currentBackend().name));`;
  const outsideOfBundle = ["--external:@te/kernels-cpu"];
  const fromSource = ["--conditions=@te/source", `--import=${import.meta.resolve("tsx")}`];

  test.runIf(isBuilt)("share the devices, whichever of them registered one", () => {
    const file = bundle(inside, "shared", BACKEND, "esm", outsideOfBundle);
    const { stdout, stderr } = run(file, { TE_NATIVE_DIR: native }, fromSource);
    expect([stdout, stderr]).toEqual(["2,2 on cpu", ""]);
  });

  test("say so where their versions do not fit", () => {
    const file = bundle(inside, "versions", BACKEND, "esm", outsideOfBundle);
    const text = readFileSync(file, "utf8");
    expect(text.match(/CONTRACT = 2;/g)).toHaveLength(1);
    writeFileSync(file, text.replace("CONTRACT = 2;", "CONTRACT = 3;"));
    const { stdout, stderr } = run(file, {}, fromSource);
    expect(stdout).toBe("2,2 on reference");
    expect(stderr).toMatch(
      /^te: native kernels are not available: another version of @te\/tensor .*: install one version; using the slow reference$/,
    );
  });

  test("an error says where a tensor of the other copy comes in", () => {
    const copy = bundle(inside, "copy", `export * from "@te/tensor";`, "esm");
    const source = `
      import { add, ones } from "@te/tensor";
      import * as other from ${JSON.stringify(copy)};
      try { add(ones([2]), other.ones([2])); } catch (error) { console.log(error.code, error.message); }`;
    const file = join(inside, "mixed.mjs");
    writeFileSync(file, source);
    const { stdout } = run(file, { TE_KERNELS: "off" }, fromSource);
    expect(stdout).toMatch(
      /add: .*, got float32\[2\] of another copy of @te\/tensor \(bundle all @te packages or none/,
    );
  });
});
