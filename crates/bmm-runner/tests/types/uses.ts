// What bmm.d.ts must accept, and (each line after `@ts-expect-error`) refuse. Compiled by tests/it/types.rs, never run.
type Input = { city: string; days?: number };

export default (async (input, ctx) => {
  const url = new URL("https://api.example.com/weather");
  url.searchParams.set("city", input.city);
  const answer = await ctx.fetch(url, {
    headers: { authorization: `Bearer ${ctx.secrets.API_KEY}`, basic: ctx.basicAuth("user", ctx.secrets.API_KEY) },
    signal: AbortSignal.any([ctx.signal, AbortSignal.timeout(1_000)]),
  });
  ctx.log("answered", answer.status);
  ctx.progress(1, 2, "half");
  const bytes = Buffer.concat([Buffer.from(await answer.text(), "base64url"), new TextEncoder().encode("x")]);
  const mac: string = ctx.hmac("sha256", ctx.secrets.API_KEY, bytes);
  const timer = setTimeout((text: string) => console.warn(text), 10, "late");
  clearTimeout(timer);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

  const asked = await ctx.elicit<{ name: string }>({
    message: "Who?", key: "who", schema: { type: "object", properties: { name: { type: "string" } }, required: ["name"] },
  });
  const who: string = asked.action === "accept" ? asked.content.name : "nobody";
  const said = await ctx.sample({ messages: [{ role: "user", content: { type: "text", text: who } }], maxTokens: 10 });
  if (said.content.type === "text") ctx.log(said.content.text, (await ctx.roots())[0]?.uri);
  // @ts-expect-error: a form's fields are plain
  await ctx.elicit({ message: "x", schema: { type: "object", properties: { a: { type: "object" } } } });
  // @ts-expect-error: only what was accepted has content
  asked.content.name;

  // @ts-expect-error: not declared
  ctx.secrets.OTHER;
  // @ts-expect-error: read only
  ctx.secrets.API_KEY = "x";
  // @ts-expect-error: no text becomes code
  setTimeout("alert(1)", 10);
  // @ts-expect-error
  ctx.hmac("md5", "a", "b");
  // @ts-expect-error: only `ctx.fetch`
  await fetch(url);
  // @ts-expect-error
  process.env;
  // @ts-expect-error
  Buffer.from("a", "utf16le");
  // @ts-expect-error
  require("fs");

  return { content: [{ type: "text", text: mac + Buffer.from(digest).toString("hex") }] };
}) satisfies bmm.Tool<Input, bmm.Content, "API_KEY">;

// @ts-expect-error: no such kind of content
export const wrong: bmm.Tool<Input, bmm.Content> = () => ({ content: [{ type: "dance" }] });
