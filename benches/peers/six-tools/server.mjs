// The six tools on the TypeScript SDK (npm @modelcontextprotocol/sdk 1.32.2): `node server.mjs PORT`, below a node_modules with it.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const require = createRequire(join(process.env.NODE_MODULES_OF, 'package.json'));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { McpServer } = await load('@modelcontextprotocol/sdk/server/mcp.js');
const { StreamableHTTPServerTransport } = await load('@modelcontextprotocol/sdk/server/streamableHttp.js');
const { z } = await load('zod');

const text = (text) => ({ content: [{ type: 'text', text }] });
function makeServer() {
  const server = new McpServer({ name: 'six-tools', version: '1' });
  const tool = (name, description, inputSchema, run) =>
    server.registerTool(name, { description, inputSchema }, async (input) => text(run(input)));
  tool('add', 'Adds two numbers.', { a: z.number(), b: z.number() }, ({ a, b }) => String(a + b));
  tool('echo', 'Gives a text back.', { text: z.string() }, ({ text }) => text);
  tool('slugify', 'Makes a text fit for a URL.', { text: z.string() }, ({ text }) => text.toLowerCase().split(/[^a-z0-9]+/).filter(Boolean).join('-'));
  tool('mean', 'Averages numbers.', { values: z.array(z.number()) }, ({ values }) => String(values.reduce((sum, value) => sum + value, 0) / values.length));
  tool('count_words', 'Counts the words of a text.', { text: z.string() }, ({ text }) => String(text.split(/\s+/).filter(Boolean).length));
  tool('sort_lines', 'Sorts the lines of a text.', { text: z.string() }, ({ text }) => text.split('\n').sort().join('\n'));
  return server;
}

const sessions = new Map();
createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = chunks.length ? JSON.parse(Buffer.concat(chunks)) : undefined;
  let transport = sessions.get(request.headers['mcp-session-id']);
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      enableJsonResponse: true,
      onsessioninitialized: (id) => sessions.set(id, transport),
    });
    await makeServer().connect(transport);
  }
  await transport.handleRequest(request, response, body);
}).listen(Number(process.argv[2]), '127.0.0.1');
