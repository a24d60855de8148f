/** The doors of the package, and the files behind them: which names are where, and that no file needs itself to be read. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as users from "@te/tensor";
import * as devices from "@te/tensor/backend";
import * as authors from "@te/tensor/op";
import ts from "typescript";
import { expect, test } from "vitest";

const SOURCE = fileURLToPath(new URL("../src", import.meta.url));

test("users see functions of tensors; definitions, checks and programs stand behind the other doors", () => {
  const names = Object.keys(users);
  expect(
    names.filter((name) => /Op$|^expect[A-Z]|^check[A-Z]|(?<!^current)Backend|^Lru$|^fail$|^withDefaults$/.test(name)),
  ).toEqual([]);
  expect(names.length).toBeLessThan(140);
  expect(Object.keys(authors)).toContain("addOp");
  expect(Object.keys(devices)).toContain("registerBackend");
});

test("a name stands behind one door", () => {
  const all = [users, authors, devices].flatMap((door) => Object.keys(door));
  const twice = all.filter((name, i) => all.indexOf(name) !== i);
  expect(twice).toEqual(["byteSize", "warnOnce"]);
});

/** What the modules of a file's imports and exports need when it is read: types are gone by then. */
function valueImports(file: string): string[] {
  const parsed = ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.Latest);
  return parsed.statements.flatMap((statement) => {
    if (!ts.isImportDeclaration(statement) && !ts.isExportDeclaration(statement)) return [];
    const from = statement.moduleSpecifier;
    if (!from || !ts.isStringLiteral(from) || !from.text.startsWith(".") || onlyTypes(statement)) return [];
    return [resolve(dirname(file), from.text.replace(/\.js$/, ".ts"))];
  });
}

function onlyTypes(statement: ts.ImportDeclaration | ts.ExportDeclaration): boolean {
  if (ts.isExportDeclaration(statement)) {
    const { isTypeOnly, exportClause } = statement;
    return (
      isTypeOnly ||
      (!!exportClause && ts.isNamedExports(exportClause) && exportClause.elements.every((e) => e.isTypeOnly))
    );
  }
  const clause = statement.importClause;
  if (!clause) return false;
  const names = clause.namedBindings;
  return (
    clause.isTypeOnly ||
    (!clause.name && !!names && ts.isNamedImports(names) && names.elements.every((e) => e.isTypeOnly))
  );
}

test("no file imports itself by way of others", () => {
  const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
    .map((name) => join(SOURCE, name));
  const done = new Set<string>();
  const path: string[] = [];
  const circles: string[] = [];
  const visit = (file: string): void => {
    const at = path.indexOf(file);
    if (at >= 0) circles.push([...path.slice(at), file].map((f) => relative(SOURCE, f)).join(" → "));
    if (at >= 0 || done.has(file)) return;
    path.push(file);
    for (const next of valueImports(file)) visit(next);
    path.pop();
    done.add(file);
  };
  for (const file of files) visit(file);
  expect(files.length).toBeGreaterThan(80);
  expect(circles).toEqual([]);
});
