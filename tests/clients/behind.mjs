// Stands in for a platform that cannot run here, with a recipe's own code or rules. One argument,
// JSON: {"platform": …, "code": the recipe's block, "hedgerow": "HOST:PORT"}. Prints its port. Ends
// when standard input closes.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { Readable } from 'node:stream';

const { platform, code, hedgerow } = JSON.parse(process.argv[2]);
const [host, port] = hedgerow.split(':');

/** The recipe's module, from a file beside the libraries that it imports. */
async function module() {
  const file = path.join(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), `.behind-${process.pid}.mjs`);
  fs.writeFileSync(file, code.replaceAll('127.0.0.1:8080', hedgerow));
  try {
    return (await import(file)).default;
  } finally {
    fs.rmSync(file);
  }
}

/** Passes a request on, body and all as they come; `headers` are those that it leaves with. */
function pass(request, answer, target, headers) {
  const onward = http.request({ host, port, method: request.method, path: target, headers }, (got) => {
    answer.writeHead(got.statusCode, got.headers);
    got.pipe(answer);
  });
  onward.on('error', () => answer.writeHead(502).end());
  request.pipe(onward);
}

/** What a pattern as Vercel and Next.js have them makes of a path. */
function rewritten({ source, destination }, path) {
  const [, start] = /^(.*):path\(\.\*\)$/.exec(source);
  if (!path.startsWith(start)) return null;
  return destination.replace(':path', path.slice(start.length));
}

/** A platform that sends a request to another host by a rule. */
function byRule(rule) {
  return (request, answer) => {
    const [path, query] = request.url.split('?');
    const target = rule(path);
    if (!target) return answer.writeHead(404).end();
    const url = new URL(target);
    const headers = {
      ...request.headers,
      host: url.host,
      // The platform replaces the values that the visitor sent.
      'x-forwarded-for': request.socket.remoteAddress,
      'x-forwarded-host': request.headers.host,
      'x-forwarded-proto': 'https',
    };
    return pass(request, answer, url.pathname + (query === undefined ? '' : `?${query}`), headers);
  };
}

const platforms = {
  vercel: () => {
    const [rule] = JSON.parse(code).rewrites;
    return byRule((path) => rewritten(rule, path));
  },
  netlify: () => {
    const [from, to, status] = code.trim().split(/\s+/);
    if (status !== '200!' || !from.endsWith('*')) throw new Error(code);
    const start = from.slice(0, -1);
    return byRule((path) => (path.startsWith(start) ? to.replace(':splat', path.slice(start.length)) : null));
  },
  next: async () => {
    const config = await module();
    if (config.skipTrailingSlashRedirect !== true) throw new Error('a slash at the end would be redirected');
    const [rule] = (await config.rewrites()).beforeFiles;
    if (!rule.destination.startsWith(`http://${hedgerow}/`)) throw new Error(rule.destination);
    return byRule((path) => rewritten(rule, path));
  },
  nuxt: async () => {
    const handler = await module();
    const { createApp, createRouter, toNodeListener } = await import('h3');
    const router = createRouter().use('/hr/**', handler);
    return toNodeListener(createApp().use(router));
  },
  cloudflare: async () => {
    const worker = await module();
    // As in a Worker: `request.url` is the visitor's, and `resolveOverride` names the target.
    globalThis.fetch = (request, { redirect, cf }) => new Promise((done, failed) => {
      const url = new URL(request.url);
      if (cf.resolveOverride !== 't.example.com' || redirect !== 'manual') return failed(new Error('not as the recipe says'));
      const headers = { ...Object.fromEntries(request.headers), host: url.host };
      const onward = http.request({ host, port, method: request.method, path: url.pathname + url.search, headers }, (got) => {
        const empty = got.statusCode === 204 || got.statusCode === 304;
        if (empty) got.resume();
        done(new Response(empty ? null : Readable.toWeb(got), { status: got.statusCode, headers: got.headers }));
      });
      onward.on('error', failed);
      if (request.body) Readable.fromWeb(request.body).pipe(onward);
      else onward.end();
      return undefined;
    });
    return async (request, answer) => {
      const bodiless = ['GET', 'HEAD', 'OPTIONS'].includes(request.method);
      const headers = { ...request.headers, 'cf-connecting-ip': request.socket.remoteAddress };
      const asked = new Request(`https://${request.headers.host}${request.url}`, {
        method: request.method,
        headers,
        body: bodiless ? undefined : Readable.toWeb(request),
        duplex: 'half',
      });
      const got = await worker.fetch(asked);
      answer.writeHead(got.status, Object.fromEntries(got.headers));
      if (got.body) Readable.fromWeb(got.body).pipe(answer);
      else answer.end();
    };
  },
};

const listener = await platforms[platform]();
const server = http.createServer((request, answer) => {
  Promise.resolve(listener(request, answer)).catch((error) => {
    console.error(error);
    if (!answer.headersSent) answer.writeHead(500);
    answer.end();
  });
});
server.requestTimeout = 0;
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
