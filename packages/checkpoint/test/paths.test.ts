/** What stands at a path: links are followed, modes stay, and what is no file is neither written nor opened. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmod, lstat, mkdir, readdir, readFile, readlink, stat, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { tensor } from "@te/tensor";
import { describe, expect, test } from "vitest";
import { loadState, openSafetensors, saveState, writeAtomically, writeSafetensors } from "../src/index.js";
import { runScript, teErrorOf, temporaryDirectory } from "./helpers.js";

const isRoot = process.getuid?.() === 0;
const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o7777).toString(8);

/** Everything that writes a file: the name in messages, and a call. */
const WRITERS: [string, (path: string) => Promise<void>][] = [
  ["writeSafetensors", (path) => writeSafetensors(path, { a: tensor([1]) })],
  ["saveState", (path) => saveState(path, { a: tensor([1]) })],
  ["writeAtomically", (path) => writeAtomically(path, "text")],
];

describe.each(WRITERS)("%s", (name, write) => {
  test("replaces the file at the end of links and leaves them links", async () => {
    const folder = await temporaryDirectory();
    await mkdir(join(folder, "runs"));
    await writeFile(join(folder, "runs/step-1"), "old");
    await symlink("runs/step-1", join(folder, "best"));
    await symlink(join(folder, "best"), join(folder, "latest"));
    await write(join(folder, "latest"));
    expect([await readlink(join(folder, "best")), await readlink(join(folder, "latest"))]).toEqual([
      "runs/step-1",
      join(folder, "best"),
    ]);
    expect((await lstat(join(folder, "runs/step-1"))).isFile()).toBe(true);
    expect(await readFile(join(folder, "runs/step-1"), "utf8")).not.toBe("old");
    expect([await readdir(folder), await readdir(join(folder, "runs"))]).toEqual([
      ["best", "latest", "runs"],
      ["step-1"],
    ]);
  });

  test("makes the file that a link without one names, seen from where the link is", async () => {
    const folder = await temporaryDirectory();
    await mkdir(join(folder, "deep/er"), { recursive: true });
    await symlink("deep/er", join(folder, "short"));
    await symlink("../made", join(folder, "deep/er/link"));
    await write(join(folder, "short/link"));
    expect(await readdir(join(folder, "deep"))).toEqual(["er", "made"]);
    expect((await lstat(join(folder, "deep/er/link"))).isSymbolicLink()).toBe(true);
  });

  test.each([0o600, 0o664, 0o755])("keeps the mode %o", async (mode) => {
    const path = join(await temporaryDirectory(), "file");
    await writeFile(path, "old");
    await chmod(path, mode);
    await write(path);
    expect(await modeOf(path)).toBe(mode.toString(8));
    expect(await readFile(path, "utf8")).not.toBe("old");
  });

  test("a new file has the mode that the mask of the process gives", async () => {
    const path = join(await temporaryDirectory(), "file");
    await write(path);
    expect(await modeOf(path)).toBe((0o666 & ~process.umask()).toString(8));
  });

  test.runIf(isRoot)("keeps owner and group", async () => {
    const path = join(await temporaryDirectory(), "file");
    await writeFile(path, "old");
    execFileSync("chown", ["65534:65533", path]);
    await write(path);
    const { uid, gid } = await stat(path);
    expect([uid, gid]).toEqual([65534, 65533]);
  });

  test("refuses what is no file before anything is written", async () => {
    const folder = await temporaryDirectory();
    execFileSync("mkfifo", [join(folder, "pipe")]);
    const server = createServer().listen(join(folder, "socket"));
    await once(server, "listening");
    await mkdir(join(folder, "folder"));
    await symlink("pipe", join(folder, "link"));
    const before = await readdir(folder);
    for (const [entry, what] of [
      ["pipe", "a named pipe"],
      ["link", "a named pipe"],
      ["socket", "a socket"],
      ["folder", "a folder"],
    ] as const) {
      const error = await teErrorOf(() => write(join(folder, entry)));
      expect(error.message).toContain(
        `${name}(${join(folder, entry)}): the path must be that of a regular file, got ${what}.`,
      );
      expect(error.code).toBe("file");
    }
    expect((await lstat(join(folder, "pipe"))).isFIFO()).toBe(true);
    expect(await readdir(folder)).toEqual(before);
    server.close();
  });

  test("a circle of links is an error", async () => {
    const folder = await temporaryDirectory();
    await symlink("b", join(folder, "a"));
    await symlink("a", join(folder, "b"));
    expect((await teErrorOf(() => write(join(folder, "a")))).message).toMatch(
      /cannot be written: ELOOP.*circle of links/,
    );
    expect(await readdir(folder)).toEqual(["a", "b"]);
  });

  test("names as long as the file system allows, and none that is longer", async () => {
    const folder = await temporaryDirectory();
    const longest = `${"ü".repeat(125)}.data`;
    await write(join(folder, longest));
    await write(join(folder, longest));
    const error = await teErrorOf(() => write(join(folder, `${longest}s`)));
    expect(error.message).toMatch(/cannot be written: ENAMETOOLONG.* Choose a shorter name\.$/);
    expect(await readdir(folder)).toEqual([longest]);
  });

  test.skipIf(isRoot)("a file or a folder that may not be written stays as it is", async () => {
    const folder = await temporaryDirectory();
    await writeFile(join(folder, "file"), "old");
    await chmod(join(folder, "file"), 0o444);
    const wayOut = /cannot be written: EACCES.* Allow writing to the file and to its folder\.$/;
    expect((await teErrorOf(() => write(join(folder, "file")))).message).toMatch(wayOut);
    await chmod(join(folder, "file"), 0o644);
    await chmod(folder, 0o555);
    expect((await teErrorOf(() => write(join(folder, "file")))).message).toMatch(wayOut);
    await chmod(folder, 0o755);
    expect(await readFile(join(folder, "file"), "utf8")).toBe("old");
  });

  test.each(["", "folder/", "a\0b", undefined, 3])("%j is no name of a file", async (path) => {
    expect((await teErrorOf(() => write(path as string))).message).toMatch(
      new RegExp(`^${name}: path must (be the name of a file|hold no NUL character), got `),
    );
  });
});

describe("what is no file does not block its reader", () => {
  const READERS: [string, (path: string) => Promise<unknown>][] = [
    ["openSafetensors", openSafetensors],
    ["loadState", loadState],
  ];
  test.each(READERS)("%s", async (name, read) => {
    const folder = await temporaryDirectory();
    const pipe = join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    for (const [path, what] of [
      [pipe, "a named pipe"],
      ["/dev/zero", "a device"],
      [folder, "a folder"],
    ] as const)
      expect((await teErrorOf(() => read(path))).message).toContain(
        `${name}(${path}): the path must be that of a regular file, got ${what}.`,
      );
    expect((await teErrorOf(() => read(undefined as never))).message).toMatch(new RegExp(`^${name}: path must be`));
  });
});

test("a disk that is full leaves the old file and nothing else", async () => {
  const folder = await temporaryDirectory();
  const path = join(folder, "state.safetensors");
  await saveState(path, { step: 1 });
  // A limit on the size of files stands for the size of the disk.
  const said = runScript(
    `await saveState(process.argv[1], { big: tensor(new Float32Array(1 << 18)) }).catch((e) => console.log(e.code, e.message));`,
    [path],
    "trap '' XFSZ; ulimit -f 64;",
  );
  expect(said).toMatch(/^file saveState\(.*\): cannot be written: EFBIG/);
  expect(await readdir(folder)).toEqual(["state.safetensors"]);
  expect(await loadState(path)).toEqual({ step: 1 });
});
