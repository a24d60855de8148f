// What the sources say about options: interfaces, tables of defaults and signatures, read with the compiler's parser.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { root } from "../setup/shell.mjs";

/** Every declaration at the top of a source file of the packages, by name. */
export function readDeclarations() {
  const declarations = new Map();
  for (const path of sourceFiles()) {
    const file = ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.ES2022, true);
    for (const node of file.statements) {
      if (ts.isVariableStatement(node)) {
        for (const variable of node.declarationList.declarations) declarations.set(variable.name.getText(), variable);
      } else if (node.name && !(ts.isFunctionDeclaration(node) && !node.body)) {
        declarations.set(node.name.text, node);
      }
    }
  }
  return declarations;
}

function sourceFiles() {
  const packages = readdirSync(join(root, "packages")).map((name) => join(root, "packages", name, "src"));
  return packages.flatMap((folder) => {
    try {
      const files = readdirSync(folder, { recursive: true });
      return files.filter((name) => /(?<!\.test)\.ts$/.test(name)).map((name) => join(folder, name));
    } catch {
      return [];
    }
  });
}

/** The members of an interface and of those it extends: name, whether it is required, and what its comment says. */
export function membersOf(declarations, name) {
  const node = declarations.get(name);
  if (!node) throw new Error(`there is no declaration of ${name}`);
  if (ts.isTypeAliasDeclaration(node)) return mappedMembers(declarations, node);
  const inherited = (node.heritageClauses ?? [])
    .flatMap((clause) => clause.types)
    .flatMap((type) => inheritedMembers(declarations, type));
  const own = node.members.map((member) => ({
    name: member.name.getText(),
    required: !member.questionToken,
    comment: commentOf(member),
  }));
  return [...own, ...inherited];
}

/** Those of the base, less what `Omit<Base, "a">` leaves out. */
function inheritedMembers(declarations, type) {
  if (type.expression.getText() !== "Omit") return membersOf(declarations, type.expression.getText());
  const [base, omitted] = type.typeArguments;
  return membersOf(declarations, base.getText()).filter(({ name }) => !omitted.getText().includes(`"${name}"`));
}

/** A type that maps a union of strings, itself made from a list. */
function mappedMembers(declarations, node) {
  const list = declarations.get("FIELDS").initializer.expression;
  if (!ts.isMappedTypeNode(node.type)) throw new Error(`${node.name.text} is no mapped type`);
  const resource = declarations.get("MeshResource");
  return list.elements.map(({ text }) => ({
    name: text,
    required: false,
    comment: commentOf(resource.members.find((member) => member.name?.getText() === text)),
  }));
}

const commentOf = (node) =>
  (node.jsDoc ?? [])
    .map(({ comment }) => ts.getTextOfJSDocComment(comment) ?? "")
    .join(" ")
    .replaceAll(/\s+/g, " ");

/** The text of each default in the static `defaults` of a class; undefined for a class without. */
export function defaultsOf(declarations, className) {
  const table = declarations.get(className)?.members?.find((member) => member.name?.getText() === "defaults");
  return table && new Map(entriesOf(declarations, table.initializer));
}

function entriesOf(declarations, node) {
  const object = ts.isObjectLiteralExpression(node) ? node : node.expression;
  return object.properties.flatMap((property) => {
    if (!ts.isSpreadAssignment(property)) return [[property.name.getText(), property.initializer.getText()]];
    const [base, member] = property.expression.getText().split(".");
    if (member) return [...defaultsOf(declarations, base)];
    return entriesOf(declarations, declarations.get(base).initializer);
  });
}

/** The parameters of a method or function as written by a caller: names, and for a destructured object its keys. */
export function parametersOf(declarations, name, method) {
  const node = declarations.get(name);
  const signature = method ? node.members.find((member) => member.name?.getText() === method) : node;
  return signature.parameters.map((parameter) => {
    if (!ts.isObjectBindingPattern(parameter.name)) return { name: parameter.name.getText() };
    return { keys: parameter.name.elements.map((element) => (element.propertyName ?? element.name).getText()) };
  });
}
