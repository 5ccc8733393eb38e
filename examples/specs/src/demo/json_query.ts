// A small path language: `.name`, `["any name"]`, `[0]`, `[-1]`, `[*]` for every element or value, `..name` for every depth.
type Step =
  | { kind: "key"; name: string }
  | { kind: "index"; index: number }
  | { kind: "each" }
  | { kind: "deep"; name: string };

const MAX_MATCHES = 10_000;

function parse(path: string): Step[] {
  const steps: Step[] = [];
  let rest = path.trim();
  if (rest.startsWith("$")) rest = rest.slice(1);
  if (rest !== "" && !rest.startsWith(".") && !rest.startsWith("[")) rest = "." + rest;
  while (rest !== "") {
    const deep = /^\.\.([\w$-]+)/.exec(rest);
    const key = /^\.([\w$-]+)/.exec(rest);
    const each = /^(?:\[\*\]|\.\*)/.exec(rest);
    const index = /^\[(-?\d+)\]/.exec(rest);
    const quoted = /^\[("(?:[^"\\]|\\.)*")\]/.exec(rest);
    const found = deep ?? key ?? each ?? index ?? quoted;
    if (!found) throw new Error(`cannot read the path at "${rest.slice(0, 40)}"`);
    if (deep) steps.push({ kind: "deep", name: deep[1] });
    else if (key) steps.push({ kind: "key", name: key[1] });
    else if (each) steps.push({ kind: "each" });
    else if (index) steps.push({ kind: "index", index: Number(index[1]) });
    else if (quoted) steps.push({ kind: "key", name: JSON.parse(quoted[1]) });
    rest = rest.slice(found[0].length);
  }
  return steps;
}

function children(value: unknown): unknown[] {
  return value !== null && typeof value === "object" ? Object.values(value) : [];
}

function own(value: unknown, name: string): unknown[] {
  const there = value !== null && typeof value === "object" && !Array.isArray(value) && Object.hasOwn(value, name);
  return there ? [(value as Record<string, unknown>)[name]] : [];
}

function deep(value: unknown, name: string): unknown[] {
  const found: unknown[] = [];
  const waiting = [value];
  while (waiting.length > 0) {
    const next = waiting.shift();
    found.push(...own(next, name));
    waiting.push(...children(next));
  }
  return found;
}

function apply(values: unknown[], step: Step): unknown[] {
  const next = values.flatMap((value) => {
    if (step.kind === "key") return own(value, step.name);
    if (step.kind === "each") return children(value);
    if (step.kind === "deep") return deep(value, step.name);
    if (!Array.isArray(value)) return [];
    const at = step.index < 0 ? value.length + step.index : step.index;
    return at >= 0 && at < value.length ? [value[at]] : [];
  });
  if (next.length > MAX_MATCHES) throw new Error(`more than ${MAX_MATCHES} matches; narrow the path`);
  return next;
}

function pick(value: unknown, fields: string[]): unknown {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  return Object.fromEntries(fields.flatMap((name) => own(value, name).map((found) => [name, found])));
}

export default (input: { json: string; path: string; fields?: string[] }) => {
  let document: unknown;
  try {
    document = JSON.parse(input.json);
  } catch (error) {
    throw new Error(`the input is not JSON: ${(error as Error).message}`);
  }
  const { fields } = input;
  const found = parse(input.path).reduce(apply, [document]);
  const matches = fields ? found.map((value) => pick(value, fields)) : found;
  return { count: matches.length, matches };
};
