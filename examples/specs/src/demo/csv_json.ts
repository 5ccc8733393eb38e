// CSV as RFC 4180 has it: fields may be quoted, quotes inside are doubled, line breaks may stand inside quotes.
type Row = Record<string, unknown>;

function parseCsv(text: string, delimiter: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let field = "";
  let quoted = false;
  let begun = false;
  const endField = () => {
    row.push(field);
    field = "";
    begun = false;
  };
  const endRow = () => {
    endField();
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  };
  const body = text.replace(/^\ufeff/, "");
  for (let at = 0; at < body.length; at++) {
    const c = body[at];
    if (quoted) {
      if (c !== '"') field += c;
      else if (body[at + 1] === '"') {
        field += '"';
        at++;
      } else quoted = false;
    } else if (c === '"' && !begun) {
      quoted = true;
      begun = true;
    } else if (c === delimiter) endField();
    else if (c === "\n") endRow();
    else if (c === "\r") {
      if (body[at + 1] !== "\n") endRow();
    } else {
      field += c;
      begun = true;
    }
  }
  if (quoted) throw new Error("a quoted field has no closing quote");
  if (field !== "" || begun || row.length > 0) endRow();
  return rows;
}

function typed(text: string): unknown {
  if (text === "") return null;
  if (text === "true") return true;
  if (text === "false") return false;
  // Only what comes back as it was written: "007" and "1e400" stay text.
  const number = Number(text);
  return String(number) === text && Number.isFinite(number) ? number : text;
}

function toJson(text: string, delimiter: string, types: boolean) {
  const [header, ...body] = parseCsv(text, delimiter);
  if (!header) return { rows: [], columns: [] };
  const columns = header.map((name, index) => name.trim() || `column${index + 1}`);
  const twice = columns.find((name, index) => columns.indexOf(name) !== index);
  if (twice !== undefined) throw new Error(`the column "${twice}" stands twice in the header`);
  const rows = body.map((fields, index) => {
    if (fields.length > columns.length) throw new Error(`row ${index + 1} has ${fields.length} fields, the header has ${columns.length}`);
    return Object.fromEntries(columns.map((name, at) => [name, types ? typed(fields[at] ?? "") : (fields[at] ?? "")]));
  });
  return { rows, columns };
}

function toCsv(text: string, delimiter: string) {
  const rows = JSON.parse(text) as Row[];
  if (!Array.isArray(rows) || rows.some((row) => row === null || typeof row !== "object" || Array.isArray(row))) {
    throw new Error("to write CSV, the text must be a JSON array of objects");
  }
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cell = (value: unknown): string => {
    if (value === null || value === undefined) return "";
    const plain = typeof value === "object" ? JSON.stringify(value) : String(value);
    const special = plain.includes(delimiter) || /["\r\n]/.test(plain) || plain !== plain.trim();
    return special ? `"${plain.replaceAll('"', '""')}"` : plain;
  };
  const lines = [columns, ...rows.map((row) => columns.map((name) => row[name]))];
  return { csv: lines.map((line) => line.map(cell).join(delimiter)).join("\n"), columns };
}

export default (input: { text: string; direction: "csv_to_json" | "json_to_csv"; delimiter?: string; types?: boolean }) => {
  const delimiter = input.delimiter ?? ",";
  return input.direction === "csv_to_json" ? toJson(input.text, delimiter, input.types ?? true) : toCsv(input.text, delimiter);
};
