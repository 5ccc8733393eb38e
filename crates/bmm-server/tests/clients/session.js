// What the two TypeScript clients are given: an OAuthClientProvider that keeps everything in memory and signs in with the
// browser, and the walk both take. Each version of the SDK brings its own classes; the walk is the same.
import { Browser } from './browser.js';
import { exchanges } from './trace.js';

const REDIRECT_URI = 'http://127.0.0.1:33333/callback';

export class Provider {
  /** Every set of tokens that was saved, oldest first. */
  saved = [];
  /** The redirects that came back from the authorization server. */
  callbacks = [];
  #browser = new Browser();
  #signInUrl;
  #client;
  #verifier;
  #state;
  #discovery;

  constructor(signInUrl) {
    this.#signInUrl = signInUrl;
  }

  get redirectUrl() { return REDIRECT_URI; }
  get clientMetadata() { return { client_name: 'bmm test client', redirect_uris: [REDIRECT_URI] }; }
  state() { this.#state = crypto.randomUUID(); return this.#state; }
  clientInformation() { return this.#client; }
  saveClientInformation(client) { this.#client = client; }
  tokens() { return this.saved.at(-1); }
  saveTokens(tokens) { this.saved.push(tokens); }
  saveCodeVerifier(verifier) { this.#verifier = verifier; }
  codeVerifier() { return this.#verifier; }
  saveDiscoveryState(discovery) { this.#discovery = discovery; }
  discoveryState() { return this.#discovery; }

  async redirectToAuthorization(url) {
    if (this.#signInUrl) await this.#browser.signIn(this.#signInUrl);
    this.#signInUrl = undefined;
    const callback = new URL(await this.#browser.authorize(url.href));
    if (callback.searchParams.get('state') !== this.#state) throw new Error(`state is not what was sent: ${callback}`);
    this.callbacks.push(callback);
  }

  /** Makes the access token one that the server cannot accept, as if it had expired. */
  spoilAccessToken() {
    const tokens = this.saved.at(-1);
    this.saved.push({ ...tokens, access_token: `${tokens.access_token}-spoiled` });
  }
}

/** Walks from the bare MCP URL to a call after a refresh; prints what it saw as one line of JSON. */
export async function walk({ name, Client, StreamableHTTPClientTransport, UnauthorizedError, finishAuth, clientOptions }) {
  const [mcpUrl, signInUrl, tool, input] = process.argv.slice(2);
  const provider = new Provider(signInUrl);
  const connect = async () => {
    const client = new Client({ name: `bmm-test-${name}`, version: '1.0.0' }, clientOptions);
    const transport = new StreamableHTTPClientTransport(new URL(mcpUrl), { authProvider: provider });
    try {
      await client.connect(transport);
      return { client, transport };
    } catch (error) {
      if (!(error instanceof UnauthorizedError) || provider.callbacks.length !== 1) throw error;
      await finishAuth(transport, provider.callbacks[0].searchParams);
      return undefined;
    }
  };
  const { client, transport } = (await connect()) ?? (await connect());
  const { tools } = await client.listTools();
  const call = { name: tool, arguments: JSON.parse(input) };
  const first = await client.callTool(call);
  const before = provider.saved.at(-1);
  provider.spoilAccessToken();
  const second = await client.callTool(call);
  const after = provider.saved.at(-1);
  await client.close();
  report(name, {
    protocol: transport.protocolVersion,
    tools: tools.map(({ name }) => name),
    result: textOf(first),
    resultAfterRefresh: textOf(second),
    accessTokenChanged: after.access_token !== before.access_token && !after.access_token.endsWith('-spoiled'),
    refreshTokenRotated: Boolean(after.refresh_token) && after.refresh_token !== before.refresh_token,
    consents: provider.callbacks.length,
    exchanges,
  });
}

export function textOf(result) {
  if (result.isError) throw new Error(`the tool failed: ${JSON.stringify(result)}`);
  return result.content.filter(({ type }) => type === 'text').map(({ text }) => text).join('\n');
}

export function report(client, seen) {
  console.log(JSON.stringify({ client, ...seen }));
}
