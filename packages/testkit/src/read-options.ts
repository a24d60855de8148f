/** Reads the public names of the packages and their parameters from the source, through the compiler. */
import { join, resolve } from "node:path";
import ts from "typescript";

const root = resolve(import.meta.dirname, "../../..");

export interface Parameter {
  readonly name: string;
  /** As TypeScript prints it, without undefined. */
  readonly type: string;
  readonly required: boolean;
  /** The first paragraph of its comment. */
  readonly doc: string;
  /** What the comment says about the default. */
  readonly default: string | undefined;
}

export interface PublicName {
  readonly package: string;
  readonly name: string;
  readonly kind: "class" | "function" | "constant";
  /** Options of the public constructor, or arguments of the function; those that hold options are replaced by their fields. */
  readonly parameters: readonly Parameter[];
  /** Arguments of the method `call`, in the same way; empty for what is no module. */
  readonly call: readonly Parameter[];
  /**
   * Fields of a constant object and their values; of a string constant the value alone, under the empty name; of a class
   * its static methods and their types, less those that are internal.
   */
  readonly values: Readonly<Record<string, string>>;
}

/** Every exported value of these packages, in the order of the index. Throws where a package does not type-check. */
export function readOptions(packages: readonly string[]): PublicName[] {
  const entries = packages.map((name) => join(root, "packages", name.replace("@te/", ""), "src/index.ts"));
  const program = ts.createProgram(entries, compilerOptions());
  const checker = program.getTypeChecker();
  return packages.flatMap((name, i) => {
    const source = program.getSourceFile(entries[i]!);
    const module = source && checker.getSymbolAtLocation(source);
    if (!module) throw new Error(`readOptions: ${entries[i]} is no module`);
    return checker
      .getExportsOfModule(module)
      .map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol))
      .filter((symbol) => symbol.flags & ts.SymbolFlags.Value && symbol.valueDeclaration)
      .map((symbol) => describe(checker, name, symbol));
  });
}

function compilerOptions(): ts.CompilerOptions {
  const file = join(root, "tsconfig.base.json");
  const { config } = ts.readConfigFile(file, ts.sys.readFile);
  return ts.parseJsonConfigFileContent({ ...config, files: [] }, ts.sys, root).options;
}

function describe(checker: ts.TypeChecker, of: string, symbol: ts.Symbol): PublicName {
  const type = checker.getTypeOfSymbol(symbol);
  const base = { package: of, name: symbol.name, call: [], values: {} };
  const [construct] = type.getConstructSignatures();
  if (construct) {
    const call = construct.getReturnType().getProperty("call");
    const signatures = call ? checker.getTypeOfSymbol(call).getCallSignatures() : [];
    return {
      ...base,
      kind: "class",
      parameters: isPublic(construct.declaration) ? parametersOf(checker, [construct]) : [],
      call: parametersOf(checker, signatures),
      values: staticMethods(checker, type),
    };
  }
  const functions = type.getCallSignatures();
  if (functions.length) return { ...base, kind: "function", parameters: parametersOf(checker, functions) };
  return { ...base, kind: "constant", parameters: [], values: valuesOf(checker, type) };
}

/** Of several overloads the longest one counts. */
function parametersOf(checker: ts.TypeChecker, signatures: readonly ts.Signature[]): Parameter[] {
  const longest = [...signatures].sort((a, b) => b.parameters.length - a.parameters.length)[0];
  return (longest?.parameters ?? []).flatMap((symbol) => {
    const fields = optionFields(checker, symbol);
    return (fields ?? [symbol]).map((field) => parameter(checker, field));
  });
}

/** The fields of a parameter that holds options: one called `options`, or taken apart where it is declared. */
function optionFields(checker: ts.TypeChecker, symbol: ts.Symbol): ts.Symbol[] | undefined {
  const { valueDeclaration: declaration } = symbol;
  const holds =
    symbol.name === "options" ||
    (declaration && ts.isParameter(declaration) && ts.isObjectBindingPattern(declaration.name));
  return holds ? checker.getTypeOfSymbol(symbol).getNonNullableType().getProperties() : undefined;
}

function parameter(checker: ts.TypeChecker, symbol: ts.Symbol): Parameter {
  const doc = ts.displayPartsToString(symbol.getDocumentationComment(checker)).split("\n\n")[0]!.replaceAll("\n", " ");
  const { valueDeclaration: declaration } = symbol;
  const optional =
    (symbol.flags & ts.SymbolFlags.Optional) !== 0 ||
    (declaration && ts.isParameter(declaration) && checker.isOptionalParameter(declaration));
  const type = checker.getTypeOfSymbol(symbol);
  const shown = checker.typeToString(optional ? checker.getNonNullableType(type) : type, declaration);
  return { name: symbol.name, type: shown, required: !optional, doc, default: defaultIn(doc) };
}

/** "Default 0.1.", "default: x;" or "x (default)". */
function defaultIn(doc: string): string | undefined {
  const said =
    /(\[[^\]]*\]|\S+) \(default\)/.exec(doc)?.[1] ?? /\bdefault:? (.+?)(?:\.(?=\s|$)|[;:]|$)/i.exec(doc)?.[1];
  return said?.replaceAll("`", "");
}

const isPublic = (declaration: ts.Declaration | undefined): boolean =>
  !declaration || !(ts.getCombinedModifierFlags(declaration) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected));

function staticMethods(checker: ts.TypeChecker, type: ts.Type): Record<string, string> {
  const methods = type.getProperties().filter(({ flags, valueDeclaration: declaration }) => {
    const isInternal = declaration && ts.getJSDocTags(declaration).some((tag) => tag.tagName.text === "internal");
    return flags & ts.SymbolFlags.Method && isPublic(declaration) && !isInternal;
  });
  return Object.fromEntries(
    methods.map((method) => [method.name, checker.typeToString(checker.getTypeOfSymbol(method))]),
  );
}

function valuesOf(checker: ts.TypeChecker, type: ts.Type): Record<string, string> {
  if (type.isStringLiteral()) return { "": type.value };
  return Object.fromEntries(
    type.getProperties().map((field) => {
      const of = checker.getTypeOfSymbol(field);
      return [field.name, of.isStringLiteral() ? of.value : checker.typeToString(of)];
    }),
  );
}
