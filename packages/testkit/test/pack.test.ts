/** Packages as users install them: what each brings, that it imports, and that it trains. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../../..");
const packages = [
  "tensor",
  "kernels-cpu",
  "kernels-cuda",
  "sharding",
  "fp8",
  "layers",
  "transformer",
  "optim",
  "checkpoint",
];
const native = process.env.TE_KERNELS !== "off" && existsSync(join(root, "native/build/te_cpu.node"));

/** What a user's shell has: nothing of ours. */
const plainEnv = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(npm_|TE_|VITEST|NODE_|TURBO)/i.test(name)),
);
const run = (command: string, args: string[], cwd: string) =>
  execFileSync(command, args, { cwd, env: plainEnv, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

let work: string;
/** Package name → tarball. */
const tarballs: Record<string, string> = {};

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "te-pack-"));
  run("node_modules/.bin/turbo", ["run", "build", "--output-logs=errors-only", "--ui=stream"], root);

  const workspaces = packages.flatMap((name) => ["-w", `@te/${name}`]);
  const packed = run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", work, ...workspaces], root);
  for (const { name, filename } of JSON.parse(packed)) tarballs[name] = join(work, filename);

  if (native) {
    for (const path of run("node", ["native/npm/pack.mjs", work, "--built"], root).trim().split("\n")) {
      const [, name] = /te-(kernels-.*)-\d+\.\d+\.\d+\.tgz$/.exec(path) ?? [];
      tarballs[`@te/${name}`] = path;
    }
  }
}, 300_000);

afterAll(() => rmSync(work, { recursive: true, force: true }));

/** Installs `names` in an empty folder, without scripts and without a registry: whatever they depend on comes from our tarballs. */
function install(folder: string, names: string[]): string {
  const home = join(work, folder);
  mkdirSync(home);
  const file = (name: string) => `file:${tarballs[name]}`;
  const others = Object.keys(tarballs).filter((name) => !names.includes(name));
  const manifest = {
    private: true,
    type: "module",
    dependencies: Object.fromEntries(names.map((name) => [name, file(name)])),
    overrides: Object.fromEntries(others.map((name) => [name, file(name)])),
  };
  writeFileSync(join(home, "package.json"), JSON.stringify(manifest));
  run("npm", ["install", "--ignore-scripts", "--offline", "--no-audit", "--no-fund"], home);
  return home;
}

function runScript(home: string, source: string): string {
  writeFileSync(join(home, "main.js"), source);
  return run(process.execPath, ["main.js"], home);
}

const filesOf = (home: string) => readdirSync(join(home, "node_modules"), { recursive: true }).map(String);

describe("packed and installed", () => {
  test("@te/sharding alone brings no native code", () => {
    const home = install("sharding", ["@te/sharding"]);
    expect(readdirSync(join(home, "node_modules/@te")).sort()).toEqual(["sharding", "tensor"]);
    expect(filesOf(home).filter((path) => /\.node$|\.so(\.|$)/.test(path))).toEqual([]);
    expect(runScript(home, `console.log(Object.keys(await import("@te/sharding")).length > 0)`)).toBe("true\n");
  });

  test("@te/transformer brings the native kernels and trains one step", () => {
    const home = install("transformer", ["@te/transformer"]);
    expect(filesOf(home).some((path) => path.endsWith("te_cpu.node"))).toBe(native);
    const report = JSON.parse(runScript(home, readFileSync(join(import.meta.dirname, "pack/train-step.js"), "utf8")));
    expect(report.after).toBeLessThan(report.before);
  });

  test("CommonJS programs require them", () => {
    const home = install("commonjs", ["@te/transformer", "@te/checkpoint"]);
    writeFileSync(
      join(home, "main.cjs"),
      `for (const name of ["tensor", "kernels-cpu", "sharding", "fp8", "layers", "transformer", "checkpoint"])
         console.log(name, Object.keys(require("@te/" + name)).length > 0);
       for (const door of ["op", "backend"]) console.log(door, Object.keys(require("@te/tensor/" + door)).length > 0);
       console.log(require("@te/tensor").currentBackend().name);`,
    );
    const said = run(process.execPath, ["main.cjs"], home).trim().split("\n");
    expect(said.slice(0, -1).every((line) => line.endsWith(" true"))).toBe(true);
    expect(said.at(-1)).toBe(native ? "cpu" : "reference");
  });

  test("every package imports", async () => {
    const names = packages.map((name) => `@te/${name}`);
    const home = install("all", names);
    const source = names
      .map((name) => `console.log("${name}", Object.keys(await import("${name}")).length > 0);\n`)
      .join("");
    expect(runScript(home, source)).toBe(names.map((name) => `${name} true\n`).join(""));

    for (const name of names) {
      const pkgDir = join(home, "node_modules", name);
      const { messages, pkg } = await publint({ pkgDir, pack: false, strict: true });
      expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
      const { scripts = {} } = JSON.parse(readFileSync(join(pkgDir, "package.json"), "utf8"));
      expect(Object.keys(scripts).filter((script) => /install|prepare/.test(script))).toEqual([]);
    }
  });
});
