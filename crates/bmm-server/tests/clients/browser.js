// The part of a browser that an OAuth sign-in needs: cookies, redirects, and one form to send. It uses node:http, so that
// trace.js (which watches fetch) sees the requests of the client alone.
//
// As a program: `node browser.js SIGN_IN_URL AUTHORIZE_URL [--deliver]` prints the URL that the authorization server
// redirects to; with --deliver it opens that URL too, as a browser does.
import http from 'node:http';
import { pathToFileURL } from 'node:url';

const MAX_REDIRECTS = 10;

export class Browser {
  #cookies = new Map();

  /** Opens the single-use link that `bmm up` prints; its cookie is kept. */
  async signIn(url) {
    const page = await this.#open(url);
    if (page.status !== 200) throw new Error(`sign-in answered ${page.status}: ${page.body}`);
  }

  /** Opens an authorize URL, approves, and gives back the redirect to the client without following it. */
  async authorize(url) {
    const redirectUri = new URL(url).searchParams.get('redirect_uri');
    const isCallback = (target) => target.split('?')[0] === redirectUri.split('?')[0];
    const consent = await this.#open(url, { isCallback });
    if (consent.callback) return consent.callback;
    if (consent.status !== 200) throw new Error(`the authorize page answered ${consent.status}: ${consent.body}`);
    const form = approveForm(consent.body);
    const answer = await this.#open(new URL(form.action || consent.url, consent.url).href, {
      isCallback,
      body: new URLSearchParams(form.fields).toString(),
      referer: consent.url,
    });
    if (!answer.callback) throw new Error(`consent ended at ${answer.url} with ${answer.status}: ${answer.body}`);
    return answer.callback;
  }

  /** Opens the client's own callback page. */
  async deliver(callback) {
    const page = await this.#open(callback);
    if (page.status >= 400) throw new Error(`the client's callback answered ${page.status}: ${page.body}`);
  }

  async #open(url, { isCallback = () => false, body, referer } = {}) {
    for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
      const answer = await this.#request(url, body, referer);
      if (answer.status < 300 || answer.status > 399 || !answer.location) return { ...answer, url };
      referer = url;
      url = new URL(answer.location, url).href;
      if (isCallback(url)) return { ...answer, url, callback: url };
      // Every redirect of a sign-in is to be followed by GET; 307 and 308 would repeat the form, which nobody asks for.
      if (answer.status === 307 || answer.status === 308) throw new Error(`${answer.status} to ${url}`);
      body = undefined;
    }
    throw new Error(`more than ${MAX_REDIRECTS} redirects, the last to ${url}`);
  }

  #request(url, body, referer) {
    const { host, origin } = new URL(url);
    const jar = this.#cookies.get(host) ?? new Map();
    const headers = { accept: 'text/html', cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; ') };
    if (referer) headers.referer = referer;
    if (body !== undefined) {
      headers['content-type'] = 'application/x-www-form-urlencoded';
      headers['content-length'] = Buffer.byteLength(body);
      headers.origin = origin;
    }
    return new Promise((resolve, reject) => {
      const request = http.request(url, { method: body === undefined ? 'GET' : 'POST', headers }, (response) => {
        for (const line of response.headers['set-cookie'] ?? []) {
          const [pair] = line.split(';');
          jar.set(pair.slice(0, pair.indexOf('=')).trim(), pair.slice(pair.indexOf('=') + 1));
        }
        this.#cookies.set(host, jar);
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk) => { text += chunk; });
        response.on('end', () => resolve({ status: response.statusCode, location: response.headers.location, body: text }));
        response.on('error', reject);
      });
      request.on('error', reject);
      request.end(body);
    });
  }
}

/** The POST form of a page that has a button to approve: its action, its hidden fields and that button. */
function approveForm(html) {
  let form;
  for (const [, tag, text] of html.matchAll(/<(form|input|button|\/form)\b([^>]*)>/gi)) {
    const attributes = attributesOf(text);
    switch (tag.toLowerCase()) {
      case 'form':
        form = { method: attributes.method ?? 'get', action: attributes.action, fields: {} };
        break;
      case 'input':
        if (form && (attributes.type === 'hidden' || 'checked' in attributes)) form.fields[attributes.name] = attributes.value ?? '';
        if (form && attributes.type === 'submit' && approves(attributes)) form.approve = attributes;
        break;
      case 'button':
        if (form && approves(attributes)) form.approve = attributes;
        break;
      default:
        if (form?.approve && form.method.toLowerCase() === 'post') {
          if (form.approve.name) form.fields[form.approve.name] = form.approve.value ?? '';
          return form;
        }
        form = undefined;
    }
  }
  throw new Error(`no form to approve in: ${html}`);
}

function approves(attributes) {
  return [attributes.name, attributes.value].some((word) => /^(approve|allow|accept)$/i.test(word ?? ''));
}

function attributesOf(text) {
  const attributes = {};
  for (const [, name, , quoted, apostrophed, bare] of text.matchAll(/([^\s"'=<>/]+)(\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?/g)) {
    attributes[name.toLowerCase()] = unescape(quoted ?? apostrophed ?? bare ?? '');
  }
  return attributes;
}

function unescape(text) {
  const named = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(amp|lt|gt|quot|apos));/gi, (_, hex, decimal, name) =>
    name ? named[name.toLowerCase()] : String.fromCodePoint(hex ? parseInt(hex, 16) : Number(decimal)));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [signInUrl, authorizeUrl, mode] = process.argv.slice(2);
  const browser = new Browser();
  await browser.signIn(signInUrl);
  const callback = await browser.authorize(authorizeUrl);
  if (mode === '--deliver') await browser.deliver(callback);
  console.log(callback);
}
