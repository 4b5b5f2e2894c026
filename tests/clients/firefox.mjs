// Headless Firefox through Puppeteer, for visitor.mjs: {"executable": FILE, "certificate": FILE,
// "key": FILE, "hosts": {NAME: PORT, …}, "vendors": {"names": [NAME, …], "port": PORT},
// "extension": FOLDER or null}.
//
// The browser reaches only this machine, through a proxy in this process. The names in `hosts` lead
// to ports that speak TLS. The proxy ends TLS for the vendors' names and sends their requests to
// one port. Every other name gets a 502.
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import puppeteer from 'puppeteer-core';

// Long enough for a busy machine.
const timeout = 120_000;

const listening = async (server) => {
  await new Promise((done) => { server.listen(0, '127.0.0.1', done); });
  return server.address().port;
};

function behindTls(port, files) {
  const server = https.createServer(files, (request, response) => {
    const { method, url: path, headers } = request;
    const onward = http.request({ host: '127.0.0.1', port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  return listening(server);
}

async function proxy({ certificate, key, hosts, vendors }) {
  const asked = new Set();
  const files = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) };
  const secured = await behindTls(vendors.port, files);
  const server = http.createServer((request, response) => {
    asked.add(request.url);
    response.writeHead(502).end();
  });
  server.on('connect', (request, socket, head) => {
    const [name] = request.url.split(':');
    asked.add(`https://${name}/`);
    const port = vendors.names.includes(name) ? secured : hosts[name];
    socket.on('error', () => {});
    if (!port) {
      socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
      return;
    }
    const onward = net.connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      onward.write(head);
      socket.pipe(onward).pipe(socket);
    });
    onward.on('error', () => socket.destroy());
    socket.on('close', () => onward.destroy());
  });
  return { port: await listening(server), asked };
}

export async function launch(options) {
  const { port, asked } = await proxy(options);
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: options.executable,
    headless: true,
    timeout,
    protocolTimeout: timeout,
    // The certificate is made for the test, and no authority has signed it.
    acceptInsecureCerts: true,
    extraPrefsFirefox: {
      'network.proxy.type': 1,
      'network.proxy.http': '127.0.0.1',
      'network.proxy.http_port': port,
      'network.proxy.ssl': '127.0.0.1',
      'network.proxy.ssl_port': port,
      'network.proxy.no_proxies_on': '',
      // Only the extensions of the profile, not those of the machine.
      'extensions.enabledScopes': 1,
    },
  });
  if (options.extension) await browser.installExtension(options.extension);
  const page = await browser.newPage();
  page.setDefaultTimeout(timeout);
  page.setDefaultNavigationTimeout(timeout);
  // posthog-js would take an automated browser for a bot and send nothing.
  await page.evaluateOnNewDocument(() => {
    Object.defineProperty(Navigator.prototype, 'webdriver', { get: () => false });
  });

  const requests = [];
  const errors = [];
  const open = new Map();
  page.on('pageerror', (error) => errors.push(`page: ${error}`));
  page.on('console', (message) => {
    if (['error', 'warn'].includes(message.type())) errors.push(`${message.type()}: ${message.text()}`);
  });
  page.on('request', (request) => {
    const one = { type: null, method: request.method(), url: request.url(), status: null, headers: {} };
    open.set(request, one);
    requests.push(one);
  });
  page.on('response', (response) => {
    const one = open.get(response.request());
    if (one) Object.assign(one, { status: response.status(), headers: response.headers() });
  });

  const close = async () => {
    await browser.close();
    return [...asked];
  };
  // The browser does not end with this process by itself.
  const kill = () => browser.process()?.kill('SIGKILL');
  return { page, seen: { requests, errors }, close, kill };
}
