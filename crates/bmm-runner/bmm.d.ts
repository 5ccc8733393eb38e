// Types for authors of bmm tools: the second argument of a tool, and the globals that exist besides the language's own.
//
// Keep this file beside your sources and compile them with `"lib": ["ES2024"]` and `"types": []`: neither the DOM's types nor Node's
// tell what is here. A tool is the default export of a module:
//
//     export default (async (input: { city: string }, ctx) => {
//       const answer = await ctx.fetch(`https://api.example.com/weather?city=${encodeURIComponent(input.city)}`);
//       if (!answer.ok) throw new Error(`the weather service answered ${answer.status}`);
//       return await answer.json();
//     }) satisfies bmm.Tool<{ city: string }>;
//
// There are no imports, no `process`, no `fetch` but `ctx.fetch`, no `Intl`, and nothing that makes code from text.

declare namespace bmm {
  /** A tool: gets its arguments, already checked against its `inputSchema`, and its context. What it throws is told to the model. */
  type Tool<Input = Record<string, unknown>, Result = unknown, Secret extends string = string> = (
    input: Input,
    ctx: Context<Secret>,
  ) => Result | Promise<Result>;

  /** What a tool reaches outside of itself. `Secret`: the names in the spec's `requiredSecrets`. */
  interface Context<Secret extends string = string> {
    /** Fetches from the hosts in the spec's `allowedDomains`, over https. Rejects with a `TypeError` that says why. */
    fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;
    /**
     * A handle for each declared secret. It stands for the value where the spec says it may go (`in`, `domains`): put it into a header, a
     * query, a path or a body of `fetch`, alone or with text around it. Nothing but `fetch`, `basicAuth` and `hmac` sees the value.
     */
    readonly secrets: Readonly<Record<Secret, string>>;
    /** A handle for the value of an `Authorization: Basic` header. */
    basicAuth(user: string, secret: string): string;
    /** The MAC of `data` in lower-case hexadecimal. */
    hmac(algorithm: "sha1" | "sha256" | "sha384" | "sha512", secret: string, data: string | BufferSource): string;
    /** A message for whoever called, as `console.log`. At most 64 KiB a call. */
    log(...values: unknown[]): void;
    /** Tells how far the work is; `total` may be unknown. */
    progress(progress: number, total?: number, message?: string): void;
    /** Aborted when the call is cancelled, at which point the code has been stopped. */
    readonly signal: AbortSignal;
    /**
     * Asks the person behind the client to fill in a form. Rejects with a `TypeError` if the client cannot be asked (many cannot), refuses,
     * or does not answer in time (60 s together, which are not the call's own time).
     *
     * **A tool that asks runs more than once.** When all that is left to do is to wait for answers, the run ends; with the answers the tool
     * runs again from its start, and hears them where it asked. So ask first and act afterwards: what was fetched before a question is
     * fetched again. And ask the same each time: a question that depends on chance or time ends the call. Questions that do not wait
     * for each other (`Promise.all`) are put together. At most 16 in a call, 64 KiB each.
     *
     * An answer is the client's word: it proves no more than any other argument of the call that a person has agreed.
     *
     * Never ask for a secret: forms go through the client and its model. Names such as `password` are refused, but nothing checks what your
     * words ask for.
     */
    elicit<Answer = Record<string, string | number | boolean | string[]>>(question: Form): Promise<Elicited<Answer>>;
    /** Asks the client's model for the next message of a conversation. As {@link elicit} otherwise. Deprecated in MCP since 2026-07-28. */
    sample(question: Turn): Promise<Sampled>;
    /** The folders that the client works in. As {@link elicit} otherwise. Deprecated in MCP since 2026-07-28. */
    roots(question?: Keyed): Promise<{ uri: string; name?: string }[]>;
  }

  interface Keyed {
    /**
     * What the question is called, for the client and in the next run: at most 64 letters, digits, `-`, `_` and `.`. Without it its place
     * among the call's questions counts, so give one where the order may differ from run to run.
     */
    key?: string;
  }

  interface Form extends Keyed {
    /** What is asked, for a person to read. */
    message: string;
    /** The fields. Without it the person accepts or declines. */
    schema?: { type: "object"; title?: string; description?: string; properties: Record<string, Field>; required?: string[] };
  }

  type Field = { title?: string; description?: string } & (
    | { type: "string"; minLength?: number; maxLength?: number; format?: "email" | "uri" | "date" | "date-time"; default?: string }
    | { type: "string"; enum: string[]; enumNames?: string[]; default?: string }
    | { type: "string"; oneOf: { const: string; title: string }[]; default?: string }
    | { type: "array"; items: { type: "string"; enum: string[] } | { anyOf: { const: string; title: string }[] }; minItems?: number; maxItems?: number; default?: string[] }
    | { type: "number" | "integer"; minimum?: number; maximum?: number; default?: number }
    | { type: "boolean"; default?: boolean }
  );

  /** `content` has been checked against the schema. */
  type Elicited<Answer> = { action: "accept"; content: Answer } | { action: "decline" | "cancel"; content?: undefined };

  interface Turn extends Keyed {
    messages: { role: "user" | "assistant"; content: SampledContent }[];
    maxTokens: number;
    systemPrompt?: string;
    temperature?: number;
    stopSequences?: string[];
    modelPreferences?: { hints?: { name?: string }[]; costPriority?: number; speedPriority?: number; intelligencePriority?: number };
  }

  interface Sampled {
    role: "user" | "assistant";
    content: SampledContent;
    model: string;
    stopReason?: string;
  }

  type SampledContent = { type: "text"; text: string } | { type: "image" | "audio"; /** base64 */ data: string; mimeType: string };

  /**
   * A result that is taken as it is. Anything else becomes one: a string is its text, other JSON is structured content with its text.
   */
  interface Content {
    content: ContentBlock[];
    structuredContent?: Record<string, unknown>;
    isError?: boolean;
    _meta?: Record<string, unknown>;
  }

  type ContentBlock =
    | { type: "text"; text: string; annotations?: Annotations }
    | { type: "image" | "audio"; /** base64 */ data: string; mimeType: string; annotations?: Annotations }
    | { type: "resource_link"; uri: string; name: string; title?: string; description?: string; mimeType?: string; size?: number; annotations?: Annotations }
    | {
        type: "resource";
        resource: { uri: string; mimeType?: string; text: string } | { uri: string; mimeType?: string; /** base64 */ blob: string };
        annotations?: Annotations;
      };

  interface Annotations {
    audience?: ("user" | "assistant")[];
    priority?: number;
    lastModified?: string;
  }
}

type BufferSource = ArrayBufferView | ArrayBuffer;
type BodyInit = string | BufferSource | URLSearchParams;
type HeadersInit = Headers | Record<string, string> | Iterable<readonly [string, string]>;

interface RequestInit {
  method?: string;
  headers?: HeadersInit;
  /** At most 1 MiB. */
  body?: BodyInit | null;
  redirect?: "follow" | "manual" | "error";
  signal?: AbortSignal;
}

declare class Headers {
  constructor(init?: HeadersInit);
  append(name: string, value: string): void;
  delete(name: string): void;
  get(name: string): string | null;
  has(name: string): boolean;
  set(name: string, value: string): void;
  forEach(callback: (value: string, name: string, headers: Headers) => void, self?: unknown): void;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  entries(): IterableIterator<[string, string]>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
}

interface Body {
  readonly bodyUsed: boolean;
  arrayBuffer(): Promise<ArrayBuffer>;
  bytes(): Promise<Uint8Array>;
  json(): Promise<any>;
  text(): Promise<string>;
}

interface Request extends Body {}
declare class Request {
  constructor(input: string | URL | Request, init?: RequestInit);
  readonly url: string;
  readonly method: string;
  readonly headers: Headers;
  readonly redirect: string;
  readonly signal: AbortSignal;
  clone(): Request;
}

interface Response extends Body {}
declare class Response {
  constructor(body?: BodyInit | null, init?: { status?: number; statusText?: string; headers?: HeadersInit });
  static json(data: unknown, init?: { status?: number; statusText?: string; headers?: HeadersInit }): Response;
  readonly status: number;
  readonly statusText: string;
  readonly ok: boolean;
  readonly type: string;
  /** After redirects. */
  readonly url: string;
  readonly redirected: boolean;
  readonly headers: Headers;
  clone(): Response;
}

declare class URL {
  constructor(url: string | URL, base?: string | URL);
  static canParse(url: string | URL, base?: string | URL): boolean;
  static parse(url: string | URL, base?: string | URL): URL | null;
  href: string;
  protocol: string;
  username: string;
  password: string;
  host: string;
  hostname: string;
  port: string;
  pathname: string;
  search: string;
  hash: string;
  readonly origin: string;
  readonly searchParams: URLSearchParams;
  toString(): string;
  toJSON(): string;
}

declare class URLSearchParams {
  constructor(init?: string | URLSearchParams | Record<string, string> | Iterable<readonly [string, string]>);
  readonly size: number;
  append(name: string, value: string): void;
  delete(name: string, value?: string): void;
  get(name: string): string | null;
  getAll(name: string): string[];
  has(name: string, value?: string): boolean;
  set(name: string, value: string): void;
  sort(): void;
  forEach(callback: (value: string, name: string, params: URLSearchParams) => void, self?: unknown): void;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  entries(): IterableIterator<[string, string]>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
  toString(): string;
}

declare class TextEncoder {
  readonly encoding: "utf-8";
  encode(input?: string): Uint8Array;
  encodeInto(input: string, target: Uint8Array): { read: number; written: number };
}

/** UTF-8 only. */
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  readonly encoding: "utf-8";
  decode(input?: BufferSource): string;
}

type BufferEncoding = "utf8" | "utf-8" | "hex" | "base64" | "base64url" | "latin1" | "binary" | "ascii";

/** The part of Node's that turns text into bytes and back. */
declare class Buffer extends Uint8Array {
  private constructor();
  static from(text: string, encoding?: BufferEncoding): Buffer;
  static from(bytes: ArrayBuffer, offset?: number, length?: number): Buffer;
  static from(bytes: ArrayLike<number> | Iterable<number> | { type: "Buffer"; data: number[] }): Buffer;
  static alloc(size: number, fill?: string | number | Uint8Array, encoding?: BufferEncoding): Buffer;
  static allocUnsafe(size: number): Buffer;
  static byteLength(value: string | ArrayBufferView | ArrayBuffer, encoding?: BufferEncoding): number;
  static compare(a: Uint8Array, b: Uint8Array): -1 | 0 | 1;
  static concat(list: readonly Uint8Array[], length?: number): Buffer;
  static isBuffer(value: unknown): value is Buffer;
  static isEncoding(encoding: string): encoding is BufferEncoding;
  equals(other: Uint8Array): boolean;
  compare(other: Uint8Array): -1 | 0 | 1;
  toString(encoding?: BufferEncoding, start?: number, end?: number): string;
  toJSON(): { type: "Buffer"; data: number[] };
}

declare class AbortSignal {
  private constructor();
  static abort(reason?: unknown): AbortSignal;
  static any(signals: Iterable<AbortSignal>): AbortSignal;
  static timeout(ms: number): AbortSignal;
  readonly aborted: boolean;
  readonly reason: any;
  onabort: ((event: { type: "abort"; target: AbortSignal }) => void) | null;
  throwIfAborted(): void;
  addEventListener(type: "abort", listener: (event: { type: "abort"; target: AbortSignal }) => void): void;
  removeEventListener(type: "abort", listener: (event: { type: "abort"; target: AbortSignal }) => void): void;
}

declare class AbortController {
  readonly signal: AbortSignal;
  abort(reason?: unknown): void;
}

declare class DOMException extends Error {
  constructor(message?: string, name?: string);
  readonly code: number;
}

declare function setTimeout<Arguments extends unknown[]>(callback: (...args: Arguments) => void, ms?: number, ...args: Arguments): number;
declare function setInterval<Arguments extends unknown[]>(callback: (...args: Arguments) => void, ms?: number, ...args: Arguments): number;
declare function clearTimeout(id: number | undefined): void;
declare function clearInterval(id: number | undefined): void;
declare function queueMicrotask(callback: () => void): void;
declare function structuredClone<T>(value: T): T;
declare function atob(input: string): string;
declare function btoa(input: string): string;

/** Messages for whoever called. At most 64 KiB a call. */
declare const console: Record<"debug" | "trace" | "log" | "info" | "warn" | "error", (...values: unknown[]) => void>;

declare const crypto: {
  getRandomValues<T extends ArrayBufferView>(array: T): T;
  randomUUID(): string;
  readonly subtle: {
    digest(algorithm: "SHA-1" | "SHA-256" | "SHA-384" | "SHA-512" | { name: string }, data: BufferSource): Promise<ArrayBuffer>;
  };
};
