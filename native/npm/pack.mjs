// Packs the platform packages, and prints the path of each tarball.
//   node native/npm/pack.mjs <out folder>            te_cpu.node of native/build, and te_cuda.node built for every GPU where nvcc is
//   node native/npm/pack.mjs <out folder> --built    what native/build holds: quick, and te_cuda.node for few GPUs
// A platform package is its package.json, the addon, the shared libraries that a bare system lacks, and their licences.
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { buildForEveryGpu } from "../../scripts/setup/native.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
const bundled = /^lib(dnnl|gomp|OpenCL)\.so/;

/** Packs every platform package whose addon is in one of the folders; returns their tarballs. */
export function packNative(out, folders = [join(root, "native/build")]) {
  return ["kernels-cpu-linux-x64-gnu", "kernels-cuda-linux-x64-cuda13"].flatMap((name) => {
    const build = folders.find((folder) => existsSync(join(folder, addonOf(name))));
    return build ? [packOne(name, out, build)] : [];
  });
}

function addonOf(name) {
  return basename(JSON.parse(readFileSync(join(here, name, "package.json"), "utf8")).main);
}

function packOne(name, out, build) {
  const stage = join(out, "stage", name);
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  copyFileSync(join(here, name, "package.json"), join(stage, "package.json"));
  copyFileSync(join(root, "LICENSE"), join(stage, "LICENSE"));

  const { addon, libraries } = stageAddon(join(build, addonOf(name)), stage);
  const licences = libraries.map(licence);
  if (name.includes("cuda")) licences.push(cudaRuntime);
  writeFileSync(join(stage, "THIRD-PARTY-LICENSES.txt"), licences.join("\n"));
  const size = `\`${basename(addon)}\` is ${(statSync(addon).size / 2 ** 20).toFixed(1)} MiB.\n`;
  writeFileSync(join(stage, "README.md"), `${readFileSync(join(here, name, "README.md"), "utf8")}\n${size}`);

  const packed = execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", out], {
    cwd: stage,
    encoding: "utf8",
  });
  return join(out, JSON.parse(packed)[0].filename);
}

/** Copies an addon and the shared libraries that a bare system lacks into a folder, where it finds them. */
export function stageAddon(from, stage) {
  const addon = join(stage, basename(from));
  copyFileSync(from, addon);
  const libraries = linked(addon).filter((library) => bundled.test(library.name));
  for (const library of libraries)
    if (dirname(library.path) !== stage) copyFileSync(realpathSync(library.path), join(stage, library.name));
  expectOwnLibraries(addon, stage);
  return { addon, libraries };
}

const cudaRuntime = `==== CUDA runtime (libcudart_static), a part of te_cuda.node ====

NVIDIA Corporation's, distributed under the CUDA Toolkit End User License Agreement: https://docs.nvidia.com/cuda/eula/
`;

/** The shared libraries that the dynamic linker would load for `file`. */
function linked(file) {
  const lines = execFileSync("ldd", [file], { encoding: "utf8" }).split("\n");
  return lines.flatMap((line) => {
    const [, name, path] = /^\s*(\S+) => (\/\S+)/.exec(line) ?? [];
    return name ? [{ name, path }] : [];
  });
}

/** The addon must find its libraries beside it, and so must those libraries: that takes DT_RPATH $ORIGIN, not DT_RUNPATH. */
function expectOwnLibraries(addon, stage) {
  const astray = linked(addon).filter(
    (library) => bundled.test(library.name) && dirname(realpathSync(library.path)) !== realpathSync(stage),
  );
  if (astray.length > 0) {
    const where = astray.map((library) => `${library.name} from ${library.path}`).join(", ");
    throw new Error(`${basename(addon)} would load ${where}: link it with -Wl,--disable-new-dtags and rpath $ORIGIN.`);
  }
}

/** The licence text that Debian ships with the package that owns a library. */
function licence({ name, path }) {
  const owner = [path, path.replace(/^\/lib\//, "/usr/lib/"), realpathSync(path)].map(packageOf).find(Boolean);
  const file = owner && `/usr/share/doc/${owner}/copyright`;
  if (!file || !existsSync(file)) throw new Error(`No licence text for ${name} (${path}): it cannot be redistributed.`);
  return `==== ${name}, from the Debian package ${owner} ====\n\n${readFileSync(file, "utf8")}`;
}

function packageOf(path) {
  try {
    return execFileSync("dpkg", ["-S", path], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).split(":")[0];
  } catch {
    return undefined;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const out = resolve(process.argv[2] ?? join(root, "out"));
  mkdirSync(out, { recursive: true });
  const forEveryGpu = process.argv.includes("--built") ? undefined : buildForEveryGpu();
  for (const path of packNative(out, [forEveryGpu, join(root, "native/build")].filter(Boolean))) console.log(path);
}
